# HoldfastTests.cmake - one executable and one CTest entry per tests/c/test_*.c and tests/cpp/test_*.cpp,
# linked to the static library (hidden functions are reachable). Anything that needs more, such as a
# preloaded library or a helper program, is defined in tests/CMakeLists.txt or tests/c/CMakeLists.txt.

add_library(hf_test INTERFACE)
target_link_libraries(hf_test INTERFACE holdfast_static hf_warnings hf_sanitize m)
target_include_directories(hf_test INTERFACE
    ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests/c ${PROJECT_SOURCE_DIR}/tests)
# malloc and free under test must not be optimised away, and asserts stay in.
target_compile_options(hf_test INTERFACE -UNDEBUG -fno-builtin)
target_compile_definitions(hf_test INTERFACE $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE=>)

file(GLOB test_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/tests/c/test_*.c ${PROJECT_SOURCE_DIR}/tests/cpp/test_*.cpp)
# Its large frames touch every page on their way, as code for small stacks should.
set_source_files_properties(${PROJECT_SOURCE_DIR}/tests/c/test_stack_fault.c
    PROPERTIES COMPILE_OPTIONS -fstack-clash-protection)
foreach(source IN LISTS test_sources)
    get_filename_component(name ${source} NAME_WE)
    get_filename_component(folder ${source} DIRECTORY)
    get_filename_component(language ${folder} NAME)
    set(target ${name})
    if(language STREQUAL "cpp")
        set(target ${name}_cpp)
    endif()
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE hf_test)
    add_test(NAME ${language}/${name} COMMAND ${target})
    set_tests_properties(${language}/${name} PROPERTIES TIMEOUT 180 SKIP_RETURN_CODE 77)
endforeach()

# The stack allocator against Boost.Context itself, where that is installed.
find_package(boost_context CONFIG QUIET)
if(TARGET Boost::context AND NOT HOLDFAST_SANITIZE)
    target_link_libraries(test_stack_cpp PRIVATE Boost::context)
    target_compile_definitions(test_stack_cpp PRIVATE HF_TEST_BOOST=1)
endif()

foreach(folder tests tests/c tests/c/preload tests/cpp tests/fuzz benchmarks/c)
    if(EXISTS ${PROJECT_SOURCE_DIR}/${folder}/CMakeLists.txt)
        add_subdirectory(${PROJECT_SOURCE_DIR}/${folder})
    endif()
endforeach()
