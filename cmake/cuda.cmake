# lowp::cuda: src/cuda/*.cu, the text of include/lowp compiled by nvcc, and the host's side of it.

include(CheckLanguage)
if(LOWP_CUDA STREQUAL "AUTO")
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
        message(STATUS "lowp: no nvcc found, no lowp::cuda")
        return()
    endif()
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES OFF)  # else CMake chooses, for good
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA_ARCHITECTURES)
    # A100, H100, B200; the last one as PTX, too, which later devices compile.
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
        set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
    endif()
endif()
find_package(CUDAToolkit REQUIRED)
message(STATUS "lowp: lowp::cuda by nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")

file(GLOB LOWP_CUDA_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cu
                                              ${PROJECT_SOURCE_DIR}/src/cuda/*.cpp)
add_library(lowp_cuda STATIC ${LOWP_CUDA_SOURCES})
add_library(lowp::cuda ALIAS lowp_cuda)
target_link_libraries(lowp_cuda PUBLIC lowp PRIVATE CUDA::cudart_static)
# Scalar lanes are a thread's: nothing here needs xsimd, which nvcc need not read.
target_compile_definitions(lowp_cuda PRIVATE LOWP_NO_XSIMD)
set_target_properties(lowp_cuda PROPERTIES EXPORT_NAME cuda POSITION_INDEPENDENT_CODE ON
                                           CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
# Exact results need each operation rounded by itself, as in dispatch.cmake; division and subnormal
# numbers as IEEE 754 has them are nvcc's default.
target_compile_options(lowp_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr --expt-extended-lambda -fmad=false>
    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
set_target_properties(lowp_cuda PROPERTIES CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
                                           VISIBILITY_INLINES_HIDDEN ON)
target_compile_options(lowp_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wsign-conversion;-Wshadow>"
    "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-restrict>"
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${LOWP_WARNINGS_AS_ERRORS}>>:-Werror>)
