# lowp::dispatch: src/*kernels.cpp once for each ISA, src/dispatch.cpp once. A new ISA is one line
# of the table below and one in dispatch.cpp.

include(CheckCXXCompilerFlag)

add_library(lowp_dispatch STATIC ${PROJECT_SOURCE_DIR}/src/dispatch.cpp)
add_library(lowp::dispatch ALIAS lowp_dispatch)
target_link_libraries(lowp_dispatch PUBLIC lowp)
set_target_properties(lowp_dispatch PROPERTIES EXPORT_NAME dispatch POSITION_INDEPENDENT_CODE ON)
lowp_private_flags(lowp_dispatch)

# Exact results need each operation rounded by itself: no contraction, never -ffast-math.
# Without -fno-trapping-math GCC 12 does not vectorise compare and select.
set(LOWP_KERNEL_FLAGS -fno-math-errno -fno-trapping-math -ffp-contract=off)
if(NOT LOWP_SANITIZE)
    list(PREPEND LOWP_KERNEL_FLAGS -O3)
endif()

# lowp_add_isa(<name> <flag>...): one object library, named in dispatch.cpp by LOWP_HAS_<NAME>.
function(lowp_add_isa name)
    string(TOUPPER ${name} upper)
    string(REPLACE ";" " " flags "${ARGN}")
    set(CMAKE_REQUIRED_FLAGS "${flags}")
    check_cxx_compiler_flag("-O2" LOWP_COMPILES_${upper})
    if(NOT LOWP_COMPILES_${upper})
        message(STATUS "lowp: the compiler does not know ${flags}; no ${name} kernels")
        return()
    endif()
    set(kernels lowp_kernels_${name})
    add_library(${kernels} OBJECT ${PROJECT_SOURCE_DIR}/src/kernels.cpp
                                  ${PROJECT_SOURCE_DIR}/src/arithmetic_kernels.cpp
                                  ${PROJECT_SOURCE_DIR}/src/product_kernels.cpp)
    target_link_libraries(${kernels} PRIVATE lowp)
    target_compile_definitions(${kernels} PRIVATE LOWP_ISA_NAME=${name})
    target_compile_options(${kernels} PRIVATE ${LOWP_KERNEL_FLAGS} ${ARGN})
    if(LOWP_SANITIZE AND NOT name STREQUAL "baseline")
        # Instrumented SIMD compiles for ten minutes; baseline is the same text, instrumented.
        target_compile_options(${kernels} PRIVATE -fno-sanitize=all)
    endif()
    set_target_properties(${kernels} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    lowp_private_flags(${kernels})
    target_sources(lowp_dispatch PRIVATE $<TARGET_OBJECTS:${kernels}>)
    target_compile_definitions(lowp_dispatch PRIVATE LOWP_HAS_${upper})
    set_property(TARGET lowp_dispatch APPEND PROPERTY LOWP_ISAS ${name})
endfunction()

lowp_add_isa(baseline -DLOWP_NO_XSIMD)  # the scalar text, on every processor
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    lowp_add_isa(neon)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    # AVX-512 off by name: with AVX512VL, GCC 12 miscompiles a blend on a negated 256-bit mask.
    lowp_add_isa(avx2 -mavx2 -mfma -mbmi2 -mno-avx512f)
    lowp_add_isa(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mfma
                 -mprefer-vector-width=512)
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND TARGET lowp_kernels_avx512)
        # GCC's own AVX-512 header initialises "undefined" registers with themselves (GCC 105593).
        target_compile_options(lowp_kernels_avx512 PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
endif()
