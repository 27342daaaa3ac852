# HoldfastPython.cmake - the module holdfast._core: bindings/*.cpp on the public C++ headers alone.

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
    OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE nanobind_ROOT
    RESULT_VARIABLE nanobind_missing ERROR_QUIET)
if(nanobind_missing)
    message(FATAL_ERROR "nanobind is not installed for ${Python_EXECUTABLE}: pip install nanobind")
endif()
find_package(nanobind CONFIG REQUIRED)

file(GLOB binding_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/*.cpp)
if(binding_sources)
    nanobind_add_module(_core NB_STATIC FREE_THREADED ${binding_sources})
    target_link_libraries(_core PRIVATE holdfast)
    target_compile_options(_core PRIVATE -Wall -Wextra -Wno-pedantic)
    set_target_properties(_core PROPERTIES
        BUILD_RPATH ${PROJECT_BINARY_DIR} INSTALL_RPATH "$ORIGIN/lib")
    install(TARGETS _core LIBRARY DESTINATION .)
endif()
