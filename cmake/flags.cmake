# Flags of lowp's own targets. None of them reaches a consumer of lowp::lowp.

# lowp_private_flags(<target>): warnings, no extensions, hidden symbols.
function(lowp_private_flags target)
    set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
                                               VISIBILITY_INLINES_HIDDEN ON)
    if(MSVC)
        target_compile_options(${target} PRIVATE /W4 $<$<BOOL:${LOWP_WARNINGS_AS_ERRORS}>:/WX>)
        return()
    endif()
    target_compile_options(
        ${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
                          $<$<BOOL:${LOWP_WARNINGS_AS_ERRORS}>:-Werror>)
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        # It warns of its own std::string: text + std::string(...) (GCC 105651).
        target_compile_options(${target} PRIVATE -Wno-restrict)
    endif()
endfunction()

if(LOWP_SANITIZE)
    add_compile_options(-O1 -g -fno-omit-frame-pointer -fsanitize=${LOWP_SANITIZE}
                        -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${LOWP_SANITIZE})
endif()
