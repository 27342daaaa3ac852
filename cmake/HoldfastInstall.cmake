# HoldfastInstall.cmake - headers, libraries, CMake package and pkg-config file; relocatable, and the
# same tree below any prefix and below the Python package.

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/holdfast)
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(targets holdfast holdfast_static)
if(HOLDFAST_MALLOC)
    list(APPEND targets holdfast_malloc)
    set_target_properties(holdfast_malloc PROPERTIES EXPORT_NAME malloc)
endif()
set_target_properties(holdfast_static PROPERTIES EXPORT_NAME static)

install(TARGETS ${targets} EXPORT holdfastTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/holdfast DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp" PATTERN "*.def")
install(EXPORT holdfastTargets NAMESPACE holdfast:: DESTINATION ${cmake_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/holdfastConfig.cmake.in
    ${PROJECT_BINARY_DIR}/holdfastConfig.cmake INSTALL_DESTINATION ${cmake_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/holdfastConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/holdfastConfig.cmake
    ${PROJECT_BINARY_DIR}/holdfastConfigVersion.cmake DESTINATION ${cmake_dir})

configure_file(${CMAKE_CURRENT_LIST_DIR}/holdfast.pc.in ${PROJECT_BINARY_DIR}/holdfast.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/holdfast.pc DESTINATION ${pc_dir})
