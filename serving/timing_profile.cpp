#include "serving/timing_profile.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "traces/fields.h"
#include "traces/line_counting.h"
#include "traces/text_file.h"

namespace kvhaul {
namespace {

using nlohmann::json;

constexpr double time_ms_max = 1e9;  // 11 days
constexpr std::uint64_t tp_max = 1024;
constexpr double coefficient_max = 1e6;
constexpr std::size_t json_bytes_max = 16 * MiB;  // DistServe's has 3 KB

/// What a file has to choose from: model, then hardware, then tensor parallelism.
class Choices {
 public:
  void add(const std::string& model, const std::string& hardware, std::uint64_t tp) {
    known_[model][hardware].insert(tp);
  }
  /// The first name of the choice that is not there, with those that are.
  Result<void> check(const std::string& file, const ProfileChoice& choice) const {
    const auto model = known_.find(choice.model);
    if (model == known_.end())
      return unknown(file, "model", in_quotes(choice.model), names(known_));
    const auto hardware = model->second.find(choice.hardware);
    if (hardware == model->second.end())
      return unknown(file, "hardware for " + in_quotes(choice.model), in_quotes(choice.hardware),
                     names(model->second));
    if (hardware->second.count(choice.tp) != 0) return {};
    std::vector<std::string> tps;
    for (const std::uint64_t tp : hardware->second) tps.push_back(std::to_string(tp));
    return unknown(file, "tensor parallelism for " + in_quotes(choice.model),
                   std::to_string(choice.tp), tps);
  }

 private:
  template <class Map>
  static std::vector<std::string> names(const Map& map) {
    std::vector<std::string> all;
    for (const auto& entry : map) all.push_back(in_quotes(entry.first));
    return all;
  }
  static Error unknown(const std::string& file, const std::string& what, const std::string& found,
                       const std::vector<std::string>& known) {
    constexpr std::size_t shown_max = 160;
    std::string list;
    for (const std::string& name : known) {
      if (!list.empty()) list += ", ";
      if (list.size() + name.size() > shown_max && &name != &known.front()) {
        list += "...";
        break;
      }
      list += name;
    }
    return Error::bad_input(file + ": expected a " + what + " that it has (" + list + "), found " +
                            found);
  }

  std::map<std::string, std::map<std::string, std::set<std::uint64_t>>> known_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<TimingTable::Point> medians(const std::map<double, std::vector<double>>& points) {
  std::vector<TimingTable::Point> all;
  for (const auto& [x, times_ms] : points) all.push_back({x, median(times_ms)});
  return all;
}

enum SplitwiseColumns : std::size_t {
  model_column,
  hardware_column,
  tp_column,
  prompt_column,
  batch_column,
  prompt_time_column,
  token_time_column,
  splitwise_columns
};
constexpr TextFile::Column splitwise_header[] = {
    {"model"},      {"hardware"},    {"tensor_parallel"}, {"prompt_size"},
    {"batch_size"}, {"prompt_time"}, {"token_time"},
};

/// {"facebook/opt-13b": {"1": {"prefill": [a, b, c], ...}, ...}, ...}
class DistserveEvents final : public json::json_sax_t {
 public:
  DistserveEvents(const std::string& name, const std::uint64_t& line, const ProfileChoice& choice)
      : name_(name), line_(line), choice_(choice) {}

  Result<TimingPolynomial> result() const {
    if (error_) return *error_;
    if (auto known = choices_.check(name_, choice_); !known) return known.error();
    return chosen_;
  }

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return number(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return number(value); }
  bool string(string_t& text) override { return other(in_quotes(text)); }
  bool binary(binary_t&) override { return other("binary"); }

  bool start_object(std::size_t) override { return opened(depth_ < field_depth, "an object"); }
  bool end_object() override { return --depth_ != field_depth - 1 || finish_entry(); }
  bool start_array(std::size_t) override {
    return opened(depth_ == field_depth && field_ < threshold_field, "an array");
  }
  bool end_array() override {
    if (--depth_ != field_depth || field_ >= threshold_field) return true;
    return counts_[field_] == 3 || stop("three coefficients", std::to_string(counts_[field_]));
  }

  bool key(string_t& text) override {
    if (depth_ == 1) {
      model_ = text;
      return models_.insert(text).second || stop("each model once", in_quotes(text) + " twice");
    }
    if (depth_ == 2) {
      const std::optional<std::uint64_t> tp = parse_whole(text);
      if (!tp || *tp == 0 || *tp > tp_max)
        return stop("a tensor parallelism from 1 to 1024", in_quotes(text));
      tp_ = *tp;
      entry_ = {};
      counts_.fill(0);
      return entries_.emplace(model_, tp_).second ||
             stop("each tensor parallelism once", in_quotes(text) + " twice");
    }
    if (depth_ != field_depth) return true;
    field_ = static_cast<std::size_t>(std::ranges::find(field_names, text) - field_names.begin());
    return field_ == other_field || counts_[field_] == 0 ||
           stop("each key once", in_quotes(text) + " twice");
  }
  bool parse_error(std::size_t, const std::string& token, const json::exception&) override {
    return stop("JSON", token.empty() ? "the end of the file" : in_quotes(token));
  }

 private:
  static constexpr int field_depth = 3;  // open objects around "prefill"
  enum Fields : std::size_t {
    prefill_field,
    small_field,
    large_field,
    threshold_field,
    other_field
  };
  static constexpr std::array<std::string_view, other_field> field_names = {
      "prefill", "decoding_smallbs", "decoding_largebs", "decoding_large_small_bs_threshold"};

  /// Inside a field that we do not know anything goes.
  bool ignored() const { return depth_ >= field_depth && field_ == other_field; }

  bool opened(bool expected_here, std::string_view found) {
    if (!expected_here && !ignored()) return other(found);
    if (++depth_ == field_depth) field_ = other_field;
    return true;
  }
  bool other(std::string_view found) {
    if (ignored()) return true;
    if (depth_ == 0) return stop("an object of models", found);
    if (depth_ == 1) return stop("an object of tensor parallelisms", found);
    if (depth_ == 2) return stop("an object of coefficients", found);
    return stop(
        depth_ == field_depth && field_ < threshold_field ? "a list of coefficients" : "a number",
        found);
  }
  bool number(double value) {
    if (ignored()) return true;
    const bool is_threshold = depth_ == field_depth && field_ == threshold_field;
    if (!is_threshold && depth_ <= field_depth) return other("a number");
    std::size_t& count = counts_[field_];
    if (count == 3) return stop("three coefficients", "more");
    // A fit may bend down, but not start below nothing or fall with every token.
    const bool may_be_negative = field_ == prefill_field && count == 2;
    if (value > coefficient_max || value < (may_be_negative ? -coefficient_max : 0))
      return stop(
          may_be_negative ? "a number from -1000000 to 1000000" : "a number from 0 to 1000000",
          std::to_string(value));
    if (is_threshold) {
      entry_.large_from_batch = value;
    } else {
      double(&to)[3] = field_ == prefill_field ? entry_.prefill
                       : field_ == small_field ? entry_.step_small
                                               : entry_.step_large;
      to[count] = value;
    }
    ++count;
    return true;
  }
  /// At the end of the object of a tensor parallelism.
  bool finish_entry() {
    for (std::size_t field = 0; field < other_field; ++field)
      if (counts_[field] == 0)
        return stop(in_quotes(field_names[field]) + " for " + in_quotes(model_),
                    "an entry without it");
    choices_.add(model_, {}, tp_);
    if (model_ == choice_.model && tp_ == choice_.tp) chosen_ = entry_;
    return true;
  }
  bool stop(std::string_view expected, std::string_view found) {
    error_ = expected_not(name_, line_, expected, found);
    return false;
  }

  const std::string& name_;
  const std::uint64_t& line_;
  ProfileChoice choice_;
  Choices choices_;
  TimingPolynomial chosen_;
  std::optional<Error> error_;
  std::set<std::string> models_;
  std::set<std::pair<std::string, std::uint64_t>> entries_;
  // Of the entry in progress:
  std::string model_;
  std::uint64_t tp_ = 0;
  TimingPolynomial entry_;
  std::array<std::size_t, other_field> counts_{};  // values seen of each field
  std::size_t field_ = other_field;
  int depth_ = 0;
};

Result<TimingTable> splitwise_of(TextInput input, const ProfileChoice& choice) {
  TextFile file(std::move(input));
  if (auto header = file.read_header(splitwise_header); !header) return header.error();
  Choices choices;
  std::map<double, std::vector<double>> prefill, step;  // by tokens, by batch
  bool any = false;
  for (;; any = true) {
    const Result<bool> more = file.next_row();
    if (!more) return more.error();
    if (!*more) break;
    const auto bad = [&](std::string_view expected, std::size_t column) {
      return expected_at(
          file.name(), file.line(),
          std::string(expected) + " as '" + std::string(splitwise_header[column].name) + "'",
          file.field(column));
    };
    const auto tp = parse_whole(file.field(tp_column));
    const auto prompt_tokens = parse_tokens(file.field(prompt_column));
    const auto batch = parse_tokens(file.field(batch_column));
    const auto prompt_ms = parse_number(file.field(prompt_time_column));
    const auto step_ms = parse_number(file.field(token_time_column));
    if (!tp || *tp == 0 || *tp > tp_max) return bad("a whole number from 1 to 1024", tp_column);
    if (!prompt_tokens || *prompt_tokens == 0) return bad("a whole number above 0", prompt_column);
    if (!batch || *batch == 0) return bad("a whole number above 0", batch_column);
    if (!prompt_ms || *prompt_ms > time_ms_max) return bad("milliseconds", prompt_time_column);
    if (!step_ms || *step_ms > time_ms_max) return bad("milliseconds", token_time_column);
    const std::string model(file.field(model_column)), hardware(file.field(hardware_column));
    choices.add(model, hardware, *tp);
    if (model != choice.model || hardware != choice.hardware || *tp != choice.tp) continue;
    if (*tp == 2 && *batch == 64) continue;
    if (*batch == 1) prefill[*prompt_tokens].push_back(*prompt_ms);
    step[*batch].push_back(*step_ms);
  }
  if (!any) return expected_not(file.name(), file.line() + 1, "a row", "the end of the file");
  if (auto known = choices.check(file.name(), choice); !known) return known.error();
  if (prefill.empty())
    return Error::bad_input(file.name() + ": expected rows of batch_size 1 for " +
                            in_quotes(choice.model) + ", found none");
  return TimingTable{medians(prefill), medians(step)};
}

Result<TimingPolynomial> distserve_of(TextInput input, const ProfileChoice& choice) {
  const Result<std::string> text = read_all(input, json_bytes_max);
  if (!text) return text.error();
  std::uint64_t line = 1;
  ProfileChoice without_hardware = choice;
  without_hardware.hardware.clear();
  DistserveEvents events(input.name, line, without_hardware);
  json::sax_parse(LineCounting(text->data(), line), LineCounting(text->data() + text->size(), line),
                  &events);
  return events.result();
}

}  // namespace

Result<TimingTable> read_splitwise_profile(std::unique_ptr<std::istream> bytes, std::string name,
                                           const ProfileChoice& choice) {
  Result<TextInput> input = begin_text(std::move(bytes), std::move(name));
  if (!input) return input.error();
  return splitwise_of(std::move(*input), choice);
}

Result<TimingTable> read_splitwise_profile(const std::string& path, const ProfileChoice& choice) {
  Result<TextInput> input = open_text(path);
  if (!input) return input.error();
  return splitwise_of(std::move(*input), choice);
}

Result<TimingPolynomial> read_distserve_profile(std::unique_ptr<std::istream> bytes,
                                                std::string name, const ProfileChoice& choice) {
  Result<TextInput> input = begin_text(std::move(bytes), std::move(name));
  if (!input) return input.error();
  return distserve_of(std::move(*input), choice);
}

Result<TimingPolynomial> read_distserve_profile(const std::string& path,
                                                const ProfileChoice& choice) {
  Result<TextInput> input = open_text(path);
  if (!input) return input.error();
  return distserve_of(std::move(*input), choice);
}

}  // namespace kvhaul
