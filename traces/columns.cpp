// --columns: "arrival=TIMESTAMP,input=ContextTokens,output=GeneratedTokens".
#include <array>

#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

struct Key {
  std::string_view name;
  std::string_view TraceLayout::*column;
  TimeNs unit_ns = 0;  // of a time in numbers
};
constexpr Key keys[] = {
    {"arrival", &TraceLayout::time, s_ns},
    {"arrival_ms", &TraceLayout::time, ms_ns},
    {"arrival_us", &TraceLayout::time, us_ns},
    {"arrival_ns", &TraceLayout::time, 1},
    {"input", &TraceLayout::input},
    {"output", &TraceLayout::output},
    {"session", &TraceLayout::session},
    {"prefix", &TraceLayout::prefix},
};

Error wrong(const std::string& what) { return Error::bad_input("--columns: expected " + what); }

const Key* find_key(std::string_view name) {
  for (const Key& key : keys)
    if (key.name == name) return &key;
  return nullptr;
}

}  // namespace

Result<std::shared_ptr<const void>> name_columns(const std::string& columns, TraceFormat format,
                                                 TraceLayout& layout) {
  const auto names = std::make_shared<const std::string>(columns);
  std::vector<std::pair<const Key*, std::string_view>> said;
  std::string_view rest = *names;
  while (!rest.empty()) {
    const std::size_t equals = rest.find('=');
    const Key* key = find_key(rest.substr(0, equals));
    if (equals == std::string_view::npos || key == nullptr)
      return wrong(
          "arrival=, arrival_ms=, arrival_us=, arrival_ns=, input=, output=, session= or "
          "prefix=, found " +
          in_quotes(rest.substr(0, std::min(equals, rest.find(',')))));
    rest.remove_prefix(equals + 1);
    // A name may hold a comma: it ends where another key begins.
    std::size_t end = rest.find(',');
    while (end != std::string_view::npos) {
      const std::string_view after = rest.substr(end + 1);
      if (after.find('=') < after.find(',')) break;
      end = rest.find(',', end + 1);
    }
    const std::string_view name = rest.substr(0, end);
    if (name.empty()) return wrong("a name behind " + std::string(key->name) + "=, found none");
    for (const auto& [other, other_name] : said) {
      if (other->column == key->column)
        return wrong("one column for " + std::string(other->name) + ", found " +
                     in_quotes(other_name) + " and " + in_quotes(name));
      if (other_name == name)
        return wrong("a column for one thing, found " + in_quotes(name) + " for " +
                     std::string(other->name) + " and " + std::string(key->name));
    }
    said.emplace_back(key, name);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (end != std::string_view::npos && rest.empty()) return wrong("a key behind the last comma");
  }
  for (const auto& [key, name] : said) {
    layout.*key->column = name;
    layout.prefix_required |= key->column == &TraceLayout::prefix;
    layout.session_required |= key->column == &TraceLayout::session;
    if (key->column != &TraceLayout::time) continue;
    layout.time_required = true;
    // Where the user names no unit, a format that is named, too, has its own.
    if (format == TraceFormat::columns || key->unit_ns != s_ns) {
      layout.time_unit_ns = key->unit_ns;
      layout.time_kind = TraceLayout::Time::either;
    }
  }
  if (layout.input.empty() || layout.output.empty())
    return wrong("input=COLUMN and output=COLUMN, found " + in_quotes(columns));
  return std::shared_ptr<const void>(names);
}

}  // namespace kvhaul
