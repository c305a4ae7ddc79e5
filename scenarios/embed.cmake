# Writes OUTPUT, a source file that holds the text of FILES as builtin_scenarios().
set(entries "")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME_WE)
  file(READ "${file}" text)
  string(APPEND entries "    BuiltinScenario{\"${name}\", R\"yaml(${text})yaml\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Made by scenarios/embed.cmake from the *.yaml files there.
#include <array>

#include \"scenarios/scenario.h\"

namespace kvhaul {
namespace {
const std::array scenarios = {
${entries}};
}  // namespace

std::span<const BuiltinScenario> builtin_scenarios() { return scenarios; }

}  // namespace kvhaul
")
