# lowp._core, the Python module: bindings/*.cpp on lowp::dispatch. scikit-build-core runs this and
# installs the component `python` into the package folder, the headers beside it for get_include().

find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
if(NOT pybind11_DIR AND NOT SKBUILD)
    # A plain cmake build: ask the interpreter's own pybind11 where its configuration is.
    execute_process(COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
                    OUTPUT_VARIABLE pybind11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
find_package(pybind11 2.12 CONFIG REQUIRED)

# lowp/elementary.hpp needs the headers of Boost.Multiprecision, and the module is whole or not at all.
find_path(LOWP_BOOST_INCLUDE_DIR boost/multiprecision/cpp_bin_float.hpp)
if(NOT LOWP_BOOST_INCLUDE_DIR)
    message(FATAL_ERROR "lowp: the Python module needs the headers of Boost.Multiprecision for its "
                        "elementary functions: install them (Debian: libboost-dev) or say where they "
                        "are with -DLOWP_BOOST_INCLUDE_DIR=<folder that has boost/>")
endif()

# Symbols of static libraries stay inside a module. Where the compiler takes libstdc++ from an archive,
# its locale and stream variables would otherwise be those of every library loaded later, which may be
# of another release: `import lowp` and then PyTorch crashed.
include(CheckLinkerFlag)
check_linker_flag(CXX "LINKER:--exclude-libs,ALL" LOWP_HAS_EXCLUDE_LIBS)
function(lowp_python_module target)
    lowp_private_flags(${target})
    if(LOWP_HAS_EXCLUDE_LIBS)
        target_link_options(${target} PRIVATE LINKER:--exclude-libs,ALL)
    endif()
endfunction()

file(GLOB bindings CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/*.cpp)
# NO_EXTRAS: no link-time optimisation; the work is done in lowp::dispatch, which has no need of it.
pybind11_add_module(lowp_core MODULE NO_EXTRAS ${bindings})
set_target_properties(lowp_core PROPERTIES OUTPUT_NAME _core)
target_link_libraries(lowp_core PRIVATE lowp_dispatch)
target_include_directories(lowp_core SYSTEM PRIVATE ${LOWP_BOOST_INCLUDE_DIR})
target_compile_definitions(lowp_core PRIVATE LOWP_VERSION="${PROJECT_VERSION}")
lowp_python_module(lowp_core)

# lowp._cuda, beside it where lowp::cuda is built: the package does without.
if(TARGET lowp_cuda)
    file(GLOB cuda_bindings CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/cuda/*.cpp)
    pybind11_add_module(lowp_cuda_python MODULE NO_EXTRAS ${cuda_bindings})
    set_target_properties(lowp_cuda_python PROPERTIES OUTPUT_NAME _cuda)
    target_link_libraries(lowp_cuda_python PRIVATE lowp_cuda)
    lowp_python_module(lowp_cuda_python)
    install(TARGETS lowp_cuda_python DESTINATION . COMPONENT python)
endif()

install(TARGETS lowp_core DESTINATION . COMPONENT python)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include DESTINATION . COMPONENT python)
