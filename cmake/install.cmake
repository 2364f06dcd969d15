# find_package(lowp), with COMPONENTS dispatch or cuda for the compiled libraries.

include(CMakePackageConfigHelpers)

set(LOWP_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/lowp)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/lowp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        COMPONENT lowp)
install(TARGETS lowp EXPORT lowp_headers COMPONENT lowp)
install(EXPORT lowp_headers NAMESPACE lowp:: FILE lowpTargets.cmake DESTINATION ${LOWP_CMAKE_DIR}
        COMPONENT lowp)
if(LOWP_BUILD_DISPATCH)
    install(TARGETS lowp_dispatch EXPORT lowp_dispatch COMPONENT lowp
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT lowp_dispatch NAMESPACE lowp:: FILE lowpDispatchTargets.cmake
            DESTINATION ${LOWP_CMAKE_DIR} COMPONENT lowp)
endif()
if(TARGET lowp_cuda)
    install(TARGETS lowp_cuda EXPORT lowp_cuda COMPONENT lowp ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT lowp_cuda NAMESPACE lowp:: FILE lowpCudaTargets.cmake
            DESTINATION ${LOWP_CMAKE_DIR} COMPONENT lowp)
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/lowpConfig.cmake.in lowpConfig.cmake
                              INSTALL_DESTINATION ${LOWP_CMAKE_DIR})
# Before 1.0 a minor version may change a result bit. The headers serve any architecture; the
# compiled targets file exists only where it was built, so the version is not tied to one.
write_basic_package_version_file(lowpConfigVersion.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/lowpConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/lowpConfigVersion.cmake
        DESTINATION ${LOWP_CMAKE_DIR} COMPONENT lowp)
