# HoldfastOptions.cmake - what can be switched, and the flags that follow from it.
#
# HOLDFAST_PYTHON    build the nanobind module (ON inside scikit-build-core)
# HOLDFAST_TESTS     build and register the C and C++ tests (ON outside it)
# HOLDFAST_SANITIZE  "address", "undefined", "thread" or "address;undefined"
# HOLDFAST_LTO       link-time optimisation of the core
# HOLDFAST_MALLOC    build libholdfast_malloc.so; a sanitizer brings its own malloc, so OFF there

set(skbuild OFF)
if(DEFINED SKBUILD)
    set(skbuild ON)
endif()
set(standalone ON)
if(skbuild)
    set(standalone OFF)
endif()

option(HOLDFAST_PYTHON "Build the Python module" ${skbuild})
option(HOLDFAST_TESTS "Build the C and C++ tests" ${standalone})
option(HOLDFAST_LTO "Link-time optimisation" OFF)
set(HOLDFAST_SANITIZE "" CACHE STRING "Sanitizers: address, undefined, thread, address;undefined")
if(HOLDFAST_SANITIZE)
    option(HOLDFAST_MALLOC "Build libholdfast_malloc.so" OFF)
else()
    option(HOLDFAST_MALLOC "Build libholdfast_malloc.so" ON)
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
if(skbuild)
    set(CMAKE_INSTALL_LIBDIR lib) # one layout inside the wheel on every distribution
endif()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Warnings for everything we wrote.
add_library(hf_warnings INTERFACE)
target_compile_options(hf_warnings INTERFACE
    -Wall -Wextra -Wshadow -Wvla -Wundef
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes
        -Werror=implicit-function-declaration -Werror=incompatible-pointer-types
        -Werror=int-conversion -Werror=return-type>)

# Sanitizers apply to the core and to everything linked with it.
add_library(hf_sanitize INTERFACE)
if(HOLDFAST_SANITIZE)
    string(REPLACE ";" "," sanitizers "${HOLDFAST_SANITIZE}")
    target_compile_options(hf_sanitize INTERFACE
        -fsanitize=${sanitizers} -fno-omit-frame-pointer -g -fno-sanitize-recover=undefined)
    target_link_options(hf_sanitize INTERFACE -fsanitize=${sanitizers})
    string(REPLACE ";" "_" sanitizer_define "${HOLDFAST_SANITIZE}")
    string(TOUPPER "HF_SANITIZE_${sanitizer_define}" sanitizer_define)
    target_compile_definitions(hf_sanitize INTERFACE ${sanitizer_define}=1 HF_SANITIZED=1)
endif()

# What an allocator needs from a compiler: it must not recognise our malloc as malloc, thread-local
# access must be one instruction, and only HF_API leaves the library.
add_library(hf_core_flags INTERFACE)
target_compile_options(hf_core_flags INTERFACE
    $<$<CONFIG:Release>:-O3>
    -fvisibility=hidden
    $<$<COMPILE_LANGUAGE:CXX>:-fvisibility-inlines-hidden>
    -ftls-model=initial-exec
    -fno-semantic-interposition
    -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
    -fno-builtin-aligned_alloc -fno-builtin-posix_memalign -fno-builtin-memalign
    -fno-strict-aliasing -ffunction-sections -fdata-sections
    -fstack-clash-protection) # our frames run on the stacks of fibers: none may jump over a guard
# Empty, as sources write it: the same definition twice is no warning.
target_compile_definitions(hf_core_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE=>)
target_include_directories(hf_core_flags INTERFACE
    ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)

set(HOLDFAST_IPO OFF)
if(HOLDFAST_LTO)
    include(CheckIPOSupported)
    check_ipo_supported(RESULT HOLDFAST_IPO OUTPUT ipo_why)
    if(NOT HOLDFAST_IPO)
        message(WARNING "HOLDFAST_LTO is ignored: ${ipo_why}")
    endif()
endif()
