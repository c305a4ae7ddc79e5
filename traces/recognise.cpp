// Which format a file has and how it is to be read: what the user says, and what its first lines
// do.
#include <algorithm>
#include <cctype>

#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

using Text = TraceLayout::Text;

/// LLMServingSim's and vLLM's, where they are not told another.
constexpr std::uint32_t usual_block_tokens = 16;

/// What other files begin with, and what to do about them.
constexpr std::pair<std::string_view, std::string_view> other_files[] = {
    {"\x28\xb5\x2f\xfd", "zstd data: 'zstd -dc FILE | kvhaul ... -'"},
    {"\xfd\x37zXZ", "xz data: 'xz -dc FILE | kvhaul ... -'"},
    {"BZh", "bzip2 data: 'bzip2 -dc FILE | kvhaul ... -'"},
    {"PK\x03\x04", "a zip archive: 'unzip -p FILE | kvhaul ... -'"},
    {"PAR1", "Parquet: write it as CSV first, as pandas.read_parquet(FILE).to_csv(...) does"},
    {"SQLite format 3", "an SQLite database: write a table as CSV first"},
    {"\xff\xfe", "UTF-16: 'iconv -f UTF-16 -t UTF-8 FILE | kvhaul ... -'"},
    {"\xfe\xff", "UTF-16: 'iconv -f UTF-16 -t UTF-8 FILE | kvhaul ... -'"},
};

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// The columns or keys of a file's first line.
struct FirstLine {
  std::string_view text;
  Text kind = Text::csv;
  std::vector<std::string> names = {};
};

FirstLine first_line(std::string_view head) {
  FirstLine first{line_of(head, 1)};
  if (head.starts_with(byte_order_mark)) head.remove_prefix(byte_order_mark.size());
  const std::size_t start = head.find_first_not_of(" \t\r\n");
  const char begins_with = start == std::string_view::npos ? '\0' : head[start];
  if (begins_with == '{') {
    first.kind = Text::json_lines;
    first.names = json_keys(first.text);
  } else if (begins_with == '[') {
    first.kind = Text::json_array;
    const std::size_t object = head.find('{');
    if (object != std::string_view::npos) first.names = json_keys(head.substr(object));
  } else {
    first.names = csv_fields(first.text);
  }
  return first;
}

bool fits(const TraceLayout& layout, const FirstLine& first) {
  if (layout.input.empty() || layout.text != first.kind) return false;
  if (layout.time_required && !has(first.names, layout.time)) return false;
  if (!layout.turns.empty() && has(first.names, layout.turns)) return true;
  return has(first.names, layout.input) && has(first.names, layout.output);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// A column whose name speaks of such a thing and can be typed; COLUMN if there is none.
std::string likely(const std::vector<std::string>& names,
                   std::initializer_list<const char*> words) {
  const auto typed = [](char c) { return c >= ' ' && c <= '~' && c != '\'' && c != '='; };
  for (const char* word : words)
    for (const std::string& name : names)
      if (lower(name).find(word) != std::string::npos && std::ranges::all_of(name, typed) &&
          name.size() < 40)
        return name;
  return "COLUMN";
}

/// "--columns arrival=arrived_at,...": what to give for this file.
std::string columns_hint(const std::vector<std::string>& names) {
  const std::string all =
      "arrival=" + likely(names, {"arriv", "timestamp", "time", "start"}) +
      ",input=" + likely(names, {"input", "prompt", "prefill", "context", "request"}) +
      ",output=" + likely(names, {"output", "decode", "generat", "response", "complet"});
  return "--columns " + (all.find(' ') == std::string::npos ? all : "'" + all + "'");
}

Error not_known(const FirstLine& first, const std::string& name) {
  std::string advice = columns_hint(first.names) + " names what to read";
  if (first.names.size() < 2) advice = "--format says which ('kvhaul list formats')";
  if (first.names.size() < 2 && first.text.find_first_of(";\t") != std::string_view::npos)
    advice = "columns need commas between them, as 'tr' makes them";
  return expected_not(name, 1, "the first line of a known trace format",
                      in_quotes(first.text) + "; " + advice);
}

std::string look_alike(const std::string& name, std::string_view why) {
  return (name +
          ":1: expected a file that is mooncake's (times in ms) or qwen's (in s), found one ")
      .append(why);
}

/// Mooncake's keys are also Qwen's, less some: ids per input token tell.
Result<TraceFormat> mooncake_or_qwen(std::string_view head, const FirstLine& first,
                                     const std::string& name, const TraceReading& reading,
                                     std::string& assumed) {
  if (has(first.names, "chat_id") && has(first.names, "parent_chat_id") && has(first.names, "turn"))
    return TraceFormat::qwen;
  const HeadPrefixes prefixes = prefixes_in_head(head, trace_layout(TraceFormat::mooncake));
  const BlockSizes& sizes = prefixes.sizes;
  if (reading.block_tokens) {
    assumed = "taken for mooncake: times in ms";
    return TraceFormat::mooncake;
  }
  if (!sizes.any())
    return Error::bad_input(look_alike(
        name, "without prefix ids to tell: --format mooncake or --format qwen says which"));
  const bool mooncake = sizes.fits(512), qwen = sizes.fits(16);
  if (mooncake && !qwen) {
    assumed = "taken for mooncake, whose times are in ms: prefix ids fit blocks of 512 tokens";
    return TraceFormat::mooncake;
  }
  if (qwen && !mooncake)
    return Error::bad_input(look_alike(name,
                                       "whose prefix ids fit qwen's blocks of 16 tokens: --format "
                                       "qwen; where times are ms, --format mooncake --block-tokens "
                                       "16"));
  if (const std::uint64_t only = sizes.only(); only != 0)
    return Error::bad_input(look_alike(name, "whose prefix ids fit blocks of " +
                                                 std::to_string(only) +
                                                 " tokens: where times are ms, --format mooncake "
                                                 "--block-tokens " +
                                                 std::to_string(only)));
  return Error::bad_input(look_alike(
      name, "whose prefix ids fit either: --format mooncake or --format qwen says which"));
}

Result<TraceFormat> sniff(std::string_view head, const FirstLine& first, const std::string& name,
                          const TraceReading& reading, std::string& assumed) {
  if (first.text.starts_with("# kvhaul trace ")) return TraceFormat::kvhaul;
  if (fits(trace_layout(TraceFormat::mooncake), first))
    return mooncake_or_qwen(head, first, name, reading, assumed);
  for (std::size_t i = 0; i < trace_format_count; ++i)
    if (fits(trace_layout(static_cast<TraceFormat>(i)), first)) return static_cast<TraceFormat>(i);
  return not_known(first, name);
}

/// How many tokens a prefix id stands for.
Result<void> choose_block_tokens(std::string_view head, const std::string& name,
                                 const TraceReading& reading, Recognised& recognised) {
  TraceLayout& layout = recognised.layout;
  if (!layout.tokens.empty()) {
    const bool listed = head.find('"' + std::string(layout.tokens) + '"') != std::string_view::npos;
    layout.block_tokens = reading.block_tokens.value_or(listed ? usual_block_tokens : 0);
    if (listed && !reading.block_tokens)
      recognised.assumed += "prefixes are shared in blocks of " +
                            std::to_string(layout.block_tokens) + " tokens of " +
                            in_quotes(layout.tokens);
    return {};
  }
  if (layout.prefix.empty() || recognised.format == TraceFormat::kvhaul) {
    if (!reading.block_tokens) return {};
    return Error::bad_input(
        "--block-tokens: " + name + " is read as " + std::string(layout.name) +
        (layout.prefix.empty() ? ", which has no prefix ids" : ", whose first line says it"));
  }
  HeadPrefixes prefixes;
  if (layout.text == Text::json_lines) prefixes = prefixes_in_head(head, layout);
  const BlockSizes& sizes = prefixes.sizes;
  if (layout.text == Text::json_lines && !prefixes.any) {
    recognised.assumed += recognised.assumed.empty() ? "" : "; ";
    recognised.assumed += "no " + in_quotes(layout.prefix) + ": nothing is shared";
    layout.block_tokens = 0;
    return {};
  }
  const bool told = reading.block_tokens || layout.block_tokens != 0;
  if (reading.block_tokens) layout.block_tokens = *reading.block_tokens;
  if (!told) {
    layout.block_tokens = static_cast<std::uint32_t>(sizes.only());
    if (layout.block_tokens == 0)
      return Error::bad_input(name + ": expected --block-tokens N, how many tokens a prefix id " +
                              "stands for, found prefix ids without it");
    recognised.assumed +=
        "prefix ids taken for blocks of " + std::to_string(layout.block_tokens) + " tokens";
  }
  if (!sizes.any() || sizes.none_fits() || sizes.fits(layout.block_tokens)) return {};
  const std::uint64_t only = sizes.only();
  std::string give =
      only == 0 ? "of another size: --block-tokens N"
                : "of " + std::to_string(only) + " tokens: --block-tokens " + std::to_string(only);
  if (recognised.format == TraceFormat::mooncake && sizes.fits(16))
    give += "; should times be s, --format qwen";
  if (recognised.format == TraceFormat::qwen && sizes.fits(512))
    give += "; should times be ms, --format mooncake";
  return Error::bad_input(name + ": expected prefix ids for blocks of " +
                          std::to_string(layout.block_tokens) + " tokens, found ids for blocks " +
                          give);
}

}  // namespace

Result<Recognised> recognise(std::string_view head, const std::string& name,
                             const TraceReading& reading) {
  for (const auto& [magic, what] : other_files)
    if (head.starts_with(magic)) return expected_not(name, 1, "a trace as text", what);
  const FirstLine first = first_line(head);
  Recognised recognised;
  TraceLayout& layout = recognised.layout;
  if (!reading.columns.empty()) {
    recognised.format = reading.format.value_or(TraceFormat::columns);
    layout = trace_layout(recognised.format);
    if (recognised.format == TraceFormat::columns) layout.text = first.kind;
    auto names = name_columns(reading.columns, recognised.format, layout);
    if (!names) return names.error();
    recognised.names = std::move(*names);
  } else {
    if (reading.format == TraceFormat::columns)
      return Error::bad_input("--format columns: expected " + columns_hint(first.names));
    if (reading.format) {
      recognised.format = *reading.format;
    } else {
      const auto sniffed = sniff(head, first, name, reading, recognised.assumed);
      if (!sniffed) return sniffed.error();
      recognised.format = *sniffed;
    }
    layout = trace_layout(recognised.format);
  }
  if (auto ok = choose_block_tokens(head, name, reading, recognised); !ok) return ok.error();
  return recognised;
}

}  // namespace kvhaul
