# HoldfastLibraries.cmake - the core, compiled once, and the libraries made of it.

file(GLOB core_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/src/os/*.c ${PROJECT_SOURCE_DIR}/src/base/*.c
    ${PROJECT_SOURCE_DIR}/src/pages/*.c ${PROJECT_SOURCE_DIR}/src/blocks/*.c
    ${PROJECT_SOURCE_DIR}/src/heap/*.c ${PROJECT_SOURCE_DIR}/src/arena/*.c
    ${PROJECT_SOURCE_DIR}/src/fiber/*.c ${PROJECT_SOURCE_DIR}/src/shm/*.c)
file(GLOB malloc_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/src/preload/*.c ${PROJECT_SOURCE_DIR}/src/interop/*.c)

# The linker keeps the order of the files. What every process runs through (start, the paths of
# malloc and free, the check at exit) stands together, so that a process that does nothing else maps
# few pages of code and writes few pages of data: the kernel maps code in runs of 64 KiB.
function(holdfast_order list_name)
    set(ordered)
    foreach(name IN LISTS ARGN)
        list(APPEND ordered ${PROJECT_SOURCE_DIR}/src/${name}.c)
    endforeach()
    list(REMOVE_ITEM ${list_name} ${ordered})
    set(${list_name}_first ${ordered} PARENT_SCOPE)
    set(${list_name}_rest ${${list_name}} PARENT_SCOPE)
endfunction()
holdfast_order(core_sources
    heap/hot heap/malloc heap/pool blocks/slab blocks/block base/size_class pages/pagemap
    pages/segment pages/meta base/lock os/memory_linux os/thread_linux os/numa_linux heap/heap
    base/owners base/hooks base/options base/options_check base/format base/report heap/api
    heap/sites heap/walk heap/tcache heap/reclaim heap/tcache_idle heap/middle heap/middle_keep
    heap/middle_stamp heap/large heap/hot_hardened heap/diagnose)
holdfast_order(malloc_sources
    interop/cpython preload/start preload/exit_report preload/exec_entry preload/exit_entry
    preload/malloc_entry)

# What runs at every malloc and free is built with -O3, what runs once or at the end for size, and the
# rest in between.
set(fastest heap/hot heap/hot_hardened heap/middle_stamp arena/arena_alloc)
set(smallest base/format base/json base/options base/options_check base/owners base/report
    base/report_text base/stats_json base/status heap/api heap/diagnose heap/heap heap/stats
    os/numa_linux os/thread_linux interop/cpython interop/python_json interop/raise preload/exec_entry
    preload/exit_report preload/malloc_info preload/sink preload/start)
foreach(path IN LISTS core_sources malloc_sources)
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/src ${path})
    string(REGEX REPLACE "\\.c$" "" name ${name})
    if(name IN_LIST smallest)
        set(level -Os)
    elseif(name IN_LIST fastest)
        set(level -O3)
    else()
        set(level -O2)
    endif()
    # The linker puts what compilers split off as cold in front of everything; only what runs at
    # start should stand there.
    if(NOT path IN_LIST core_sources_first AND CMAKE_C_COMPILER_ID STREQUAL GNU)
        list(APPEND level -fno-reorder-blocks-and-partition)
    endif()
    set_property(SOURCE ${path} APPEND PROPERTY COMPILE_OPTIONS "$<$<CONFIG:Release>:${level}>")
endforeach()
# operator new throws std::bad_alloc through this frame.
set_property(SOURCE ${PROJECT_SOURCE_DIR}/src/preload/new_delete.c
    APPEND PROPERTY COMPILE_OPTIONS -fexceptions)

add_library(hf_core OBJECT ${core_sources_first} ${core_sources_rest})
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
    foreach(part first rest)
        add_library(hf_malloc_${part} OBJECT ${malloc_sources_${part}})
        set_target_properties(hf_malloc_${part} PROPERTIES
            POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION ${HOLDFAST_IPO})
        target_link_libraries(hf_malloc_${part} PRIVATE hf_core_flags hf_warnings hf_sanitize)
    endforeach()
    add_library(holdfast_malloc SHARED $<TARGET_OBJECTS:hf_malloc_first>
        $<TARGET_OBJECTS:hf_core> $<TARGET_OBJECTS:hf_malloc_rest>)
    holdfast_library(holdfast_malloc)
    # Destructors are in .fini_array; the empty _fini at the far end would cost every process a page.
    target_link_options(holdfast_malloc PRIVATE -Wl,-fini=hfi_no_fini)
    # It is first in every search order: binding its own calls directly changes no meaning.
    target_link_options(holdfast_malloc PRIVATE ${shared_link_options} -Wl,-Bsymbolic-functions)
endif()
