# One interface target carries warnings, sanitizers and visibility for everything that is ours.
add_library(diffulex_flags INTERFACE)
target_compile_options(diffulex_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX,C>:-Wall -Wextra -Wpointer-arith>
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
if(DIFFULEX_SANITIZE)
  target_compile_options(diffulex_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX,C>:-fsanitize=${DIFFULEX_SANITIZE} -fno-omit-frame-pointer>)
  target_link_options(diffulex_flags INTERFACE -fsanitize=${DIFFULEX_SANITIZE})
  if(DIFFULEX_SANITIZE STREQUAL "undefined")
    target_compile_options(diffulex_flags INTERFACE
      $<$<COMPILE_LANGUAGE:CXX,C>:-fno-sanitize-recover=all>)
  endif()
endif()
