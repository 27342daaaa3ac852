# HoldfastLibraries.cmake - the core, compiled once, and the libraries made of it.

file(GLOB core_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/src/os/*.c ${PROJECT_SOURCE_DIR}/src/base/*.c
    ${PROJECT_SOURCE_DIR}/src/pages/*.c ${PROJECT_SOURCE_DIR}/src/blocks/*.c
    ${PROJECT_SOURCE_DIR}/src/heap/*.c ${PROJECT_SOURCE_DIR}/src/arena/*.c
    ${PROJECT_SOURCE_DIR}/src/fiber/*.c)
file(GLOB malloc_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/src/preload/*.c ${PROJECT_SOURCE_DIR}/src/interop/*.c)
# operator new throws std::bad_alloc through this frame.
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/preload/new_delete.c
    PROPERTIES COMPILE_OPTIONS -fexceptions)

add_library(hf_core OBJECT ${core_sources})
set_target_properties(hf_core PROPERTIES
    POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION ${HOLDFAST_IPO})
target_link_libraries(hf_core PRIVATE hf_core_flags hf_warnings hf_sanitize)

function(holdfast_library target)
    target_link_libraries(${target} PUBLIC Threads::Threads PRIVATE ${CMAKE_DL_LIBS}
        $<BUILD_INTERFACE:hf_sanitize>)
    target_include_directories(${target} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_compile_features(${target} PUBLIC c_std_11)
    set_target_properties(${target} PROPERTIES INTERPROCEDURAL_OPTIMIZATION ${HOLDFAST_IPO})
endfunction()

# Read-only after start: neither the table of imported functions nor that of exports can be
# overwritten by the program that is being watched. Threads, exit handlers and blocks outlive a
# dlclose, so they never leave the process.
set(shared_link_options -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now
    -Wl,--gc-sections -Wl,--hash-style=gnu -Wl,-O1)
if(NOT HOLDFAST_SANITIZE) # whose runtime is in the program, not in the library
    list(APPEND shared_link_options -Wl,-z,defs)
endif()

# hf_* stays interposable here, so that a process with libholdfast_malloc.so preloaded has one heap.
add_library(holdfast SHARED $<TARGET_OBJECTS:hf_core>)
holdfast_library(holdfast)
target_link_options(holdfast PRIVATE ${shared_link_options})

add_library(holdfast_static STATIC $<TARGET_OBJECTS:hf_core>)
holdfast_library(holdfast_static)
set_target_properties(holdfast_static PROPERTIES OUTPUT_NAME holdfast)

if(HOLDFAST_MALLOC)
    add_library(holdfast_malloc SHARED $<TARGET_OBJECTS:hf_core> ${malloc_sources})
    holdfast_library(holdfast_malloc)
    target_link_libraries(holdfast_malloc PRIVATE
        $<BUILD_INTERFACE:hf_core_flags> $<BUILD_INTERFACE:hf_warnings>)
    # It is first in every search order: binding its own calls directly changes no meaning.
    target_link_options(holdfast_malloc PRIVATE ${shared_link_options} -Wl,-Bsymbolic-functions)
endif()
