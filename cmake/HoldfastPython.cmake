# HoldfastPython.cmake - holdfast._core: bindings/*.cpp on the public C++ headers alone; holdfast._shm:
# bindings/shm/*.cpp likewise; and holdfast._numpy: bindings/numpy/*.cpp on NumPy's headers. Without
# them it is left out.

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
    # nanobind asks for small code; these files are on the path of every array.
    set_source_files_properties(${PROJECT_SOURCE_DIR}/bindings/store.cpp
        ${PROJECT_SOURCE_DIR}/bindings/array_handler.cpp
        ${PROJECT_SOURCE_DIR}/bindings/arena_state.cpp PROPERTIES COMPILE_OPTIONS -O2)
    set_target_properties(_core PROPERTIES
        BUILD_RPATH ${PROJECT_BINARY_DIR} INSTALL_RPATH "$ORIGIN/lib")
    install(TARGETS _core LIBRARY DESTINATION .)
endif()

# holdfast._shm: bindings/shm/*.cpp. A queue's put is measured against its C call, hence -O2.
file(GLOB shm_binding_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/shm/*.cpp)
nanobind_add_module(_shm NB_STATIC FREE_THREADED NOMINSIZE ${shm_binding_sources})
target_link_libraries(_shm PRIVATE holdfast)
target_compile_options(_shm PRIVATE -Wall -Wextra -Wno-pedantic $<$<CONFIG:Release>:-O2>)
set_target_properties(_shm PROPERTIES
    BUILD_RPATH ${PROJECT_BINARY_DIR} INSTALL_RPATH "$ORIGIN/lib")
install(TARGETS _shm LIBRARY DESTINATION .)

execute_process(COMMAND ${Python_EXECUTABLE} -c "import numpy; print(numpy.get_include())"
    OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE numpy_include
    RESULT_VARIABLE numpy_missing ERROR_QUIET)
if(numpy_missing)
    message(STATUS "NumPy's headers are not there: holdfast.numpy will not be available")
else()
    file(GLOB numpy_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/numpy/*.cpp)
    Python_add_library(_numpy MODULE WITH_SOABI ${numpy_sources})
    target_compile_features(_numpy PRIVATE cxx_std_20)
    target_include_directories(_numpy SYSTEM PRIVATE ${numpy_include})
    target_compile_options(_numpy PRIVATE -Wall -Wextra -Wno-pedantic)
    set_target_properties(_numpy PROPERTIES CXX_VISIBILITY_PRESET hidden)
    install(TARGETS _numpy LIBRARY DESTINATION .)
endif()

# holdfast._fiber: C on the public C headers, and on CPython's in one file (bindings/fiber/interpreter.h).
file(GLOB fiber_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/fiber/*.c)
Python_add_library(_fiber MODULE WITH_SOABI ${fiber_sources})
target_link_libraries(_fiber PRIVATE holdfast)
# A large frame must not step over the guard below its stack.
target_compile_options(_fiber PRIVATE -Wall -Wextra -fvisibility=hidden -fstack-clash-protection)
set_target_properties(_fiber PROPERTIES
    BUILD_RPATH ${PROJECT_BINARY_DIR} INSTALL_RPATH "$ORIGIN/lib")
install(TARGETS _fiber LIBRARY DESTINATION .)
