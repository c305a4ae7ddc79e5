# Writes OUTPUT, a source file that holds the texts a report is made of: the style sheet and the
# scripts of PAGE, D3 and its licence where they were found.
set(style "")
set(script "")
foreach(file IN LISTS PAGE)
  file(READ "${file}" text)
  if(file MATCHES "\\.css$")
    string(APPEND style "${text}")
  else()
    string(APPEND script "${text}")
  endif()
endforeach()
set(d3 "")
set(licence "")
if(D3)
  file(READ "${D3}" d3)
endif()
if(D3_LICENCE)
  file(READ "${D3_LICENCE}" licence)
endif()
file(WRITE "${OUTPUT}" "// Made by report/embed.cmake from report/page/ and D3.
#include \"report/assets.h\"

namespace kvhaul::report {

const std::string_view style = R\"asset(${style})asset\";
const std::string_view script = R\"asset(${script})asset\";
const std::string_view d3 = R\"asset(${d3})asset\";
const std::string_view d3_licence = R\"asset(${licence})asset\";

}  // namespace kvhaul::report
")
