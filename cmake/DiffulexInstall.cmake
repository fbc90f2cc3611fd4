# The library, the header, the command, a pkg-config file and a CMake package.
include(CMakePackageConfigHelpers)

install(TARGETS diffulex EXPORT diffulexTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES "${PROJECT_SOURCE_DIR}/include/diffulex.h" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(DIFFULEX_BUILD_TOOLS)
  install(TARGETS diffulex_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# Paths relative to the .pc file, so that the tree may be moved.
file(RELATIVE_PATH DIFFULEX_PC_PREFIX "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" DIFFULEX_PC_PREFIX "${DIFFULEX_PC_PREFIX}")
configure_file("${PROJECT_SOURCE_DIR}/pkgconfig/diffulex.pc.in" "${PROJECT_BINARY_DIR}/diffulex.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/diffulex.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(DIFFULEX_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/diffulex)
install(EXPORT diffulexTargets NAMESPACE diffulex:: DESTINATION ${DIFFULEX_CMAKE_DIR})
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/diffulexConfig.cmake.in" "${PROJECT_BINARY_DIR}/diffulexConfig.cmake"
  INSTALL_DESTINATION ${DIFFULEX_CMAKE_DIR})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/diffulexConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/diffulexConfig.cmake" "${PROJECT_BINARY_DIR}/diffulexConfigVersion.cmake"
  DESTINATION ${DIFFULEX_CMAKE_DIR})
