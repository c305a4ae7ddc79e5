#include "traces/servegen.h"

#include <algorithm>
#include <cmath>
#include <istream>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "traces/fields.h"
#include "traces/gaps.h"
#include "traces/line_counting.h"
#include "traces/text_file.h"

namespace kvhaul {
namespace {

using nlohmann::json;

constexpr double requests_per_s_max = 100'000;  // the busiest client has 103
constexpr TimeNs window_s_max = 1'000'000'000;  // 31 years
constexpr TimeNs default_window_ns = 600 * s_ns;
constexpr double window_requests_max = 1e8;  // a few seconds of drawing gaps
constexpr std::size_t dataset_bytes_max = 256 * MiB;

/// "{45: 0.0096, 46: 1e-05}", as Python prints a dict. False: `found` is the rest that did not fit.
bool parse_weights(std::string_view text, std::vector<std::pair<std::uint32_t, double>>& weights,
                   std::string_view& found) {
  weights.clear();
  found = text;
  const auto skip_spaces = [&] {
    found.remove_prefix(std::min(found.find_first_not_of(" \n"), found.size()));
  };
  const auto take = [&](char c) {
    skip_spaces();
    if (!found.starts_with(c)) return false;
    found.remove_prefix(1);
    skip_spaces();
    return true;
  };
  const auto word = [&] { return found.substr(0, found.find_first_of(" :,}")); };

  if (!take('{')) return false;
  if (take('}')) return found.empty();
  do {
    const std::optional<std::uint32_t> tokens = parse_tokens(word());
    if (!tokens) return false;
    found.remove_prefix(word().size());
    if (!take(':')) return false;
    const std::optional<double> weight = parse_number(word());
    if (!weight) return false;
    found.remove_prefix(word().size());
    weights.emplace_back(*tokens, *weight);
  } while (take(','));
  return take('}') && found.empty();
}

/// {"21600": {"input_tokens": "{45: 0.0096}", "output_tokens": "{}", ...}, ...}
class LengthsEvents final : public json::json_sax_t {
 public:
  LengthsEvents(const std::string& name, const std::uint64_t& line) : name_(name), line_(line) {}
  Result<std::vector<ServegenLengths>> result() {
    if (error_) return *error_;
    return std::move(lengths_);
  }

  bool null() override { return not_string("null"); }
  bool boolean(bool) override { return not_string("a boolean"); }
  bool number_integer(number_integer_t) override { return not_string("a number"); }
  bool number_unsigned(number_unsigned_t) override { return not_string("a number"); }
  bool number_float(number_float_t, const string_t&) override { return not_string("a number"); }
  bool binary(binary_t&) override { return not_string("binary"); }
  bool start_array(std::size_t) override { return not_string("an array"); }
  bool end_array() override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= 2 || not_string("an object"); }
  bool end_object() override { return --depth_ >= 0; }

  bool key(string_t& text) override {
    field_ = text;
    if (depth_ != 1) return true;
    const std::optional<std::uint64_t> start_s = parse_whole(text);
    if (!start_s || *start_s > window_s_max)
      return stop("the start of a window in seconds", in_quotes(text));
    lengths_.emplace_back().start_ns = static_cast<TimeNs>(*start_s) * s_ns;
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ != 2) return stop("an object per window", in_quotes(text));
    // Others, such as reason_ratio, say nothing about how long input and output are.
    if (field_ != "input_tokens" && field_ != "output_tokens") return true;
    std::string_view found;
    if (!parse_weights(text, weights_, found))
      return stop("a Python dict of token counts and weights", in_quotes(found));
    if (weights_.empty()) return true;
    std::optional<LengthTable>& table =
        field_ == "input_tokens" ? lengths_.back().input : lengths_.back().output;
    if (table) return stop("each key once", in_quotes(field_) + " twice");
    table = LengthTable::from(weights_);
    return table || stop("weights with a finite sum above 0", "others");
  }
  bool parse_error(std::size_t, const std::string& token, const json::exception&) override {
    return stop("JSON", token.empty() ? "the end of the file" : in_quotes(token));
  }

 private:
  bool not_string(std::string_view found) { return stop("windows of texts", found); }
  bool stop(std::string_view expected, std::string_view found) {
    error_ = expected_not(name_, line_, expected, found);
    return false;
  }

  const std::string& name_;
  const std::uint64_t& line_;
  std::vector<ServegenLengths> lengths_;
  std::vector<std::pair<std::uint32_t, double>> weights_;
  std::optional<Error> error_;
  std::string field_;
  int depth_ = 0;
};

Result<ServegenWindow> parse_window(const TextFile& file) {
  const auto bad = [&](std::string_view expected, std::size_t column) {
    return expected_at(file.name(), file.line(), expected, file.field(column));
  };
  ServegenWindow window;
  const std::optional<std::uint64_t> start_s = parse_whole(file.field(0));
  if (!start_s || *start_s > window_s_max) return bad("the start of a window in seconds", 0);
  const std::optional<double> rate = parse_number(file.field(1));
  if (!rate || *rate > requests_per_s_max) return bad("a rate from 0 to 100000 requests/s", 1);
  if (!parse_number(file.field(2))) return bad("a cv from 0 up", 2);
  window.start_ns = static_cast<TimeNs>(*start_s) * s_ns;
  window.requests_per_s = *rate;
  const std::string_view pattern = file.field(3);
  if (pattern.empty()) return window;
  if (pattern != "Gamma" && pattern != "Weibull") return bad("Gamma, Weibull or nothing", 3);
  window.gaps = pattern == "Gamma" ? ServegenWindow::Gaps::gamma : ServegenWindow::Gaps::weibull;
  // Below 0.01, the sum of such gaps may pass what a double can hold.
  const std::optional<double> shape = parse_number(file.field(4));
  if (!shape || *shape < 0.01 || *shape > 1e6) return bad("a shape from 0.01 to 1000000", 4);
  window.shape = *shape;
  return window;
}

Result<std::vector<ServegenWindow>> windows_of(TextInput input) {
  constexpr std::size_t columns = 6;
  TextFile file(std::move(input), columns);
  std::vector<ServegenWindow> windows;
  for (;;) {
    const Result<bool> more = file.next_row();
    if (!more) return more.error();
    if (!*more) break;
    const Result<ServegenWindow> window = parse_window(file);
    if (!window) return window.error();
    if (!windows.empty() && window->start_ns <= windows.back().start_ns)
      return expected_at(file.name(), file.line(), "a window after the one before", file.field(0));
    windows.push_back(*window);
  }
  if (windows.empty())
    return expected_not(file.name(), 1, "at least one window", "the end of the file");
  return windows;
}

Result<std::vector<ServegenLengths>> lengths_of(TextInput dataset) {
  const Result<std::string> text = read_all(dataset, dataset_bytes_max);
  if (!text) return text.error();
  std::uint64_t line = 1;
  LengthsEvents events(dataset.name, line);
  json::sax_parse(LineCounting(text->data(), line), LineCounting(text->data() + text->size(), line),
                  &events);
  Result<std::vector<ServegenLengths>> lengths = events.result();
  if (!lengths) return lengths;
  std::ranges::sort(*lengths, {}, &ServegenLengths::start_ns);
  if (lengths->empty()) return expected_not(dataset.name, line, "at least one window", "none");
  if (std::ranges::adjacent_find(*lengths, {}, &ServegenLengths::start_ns) != lengths->end())
    return expected_not(dataset.name, line, "each window once", "one twice");
  return lengths;
}

GapDistribution gaps_of(const ServegenWindow& window) {
  switch (window.gaps) {
    case ServegenWindow::Gaps::gamma:
      return GammaGaps(window.shape, 1.0);
    case ServegenWindow::Gaps::weibull:
      return WeibullGaps(window.shape, 1.0);
    case ServegenWindow::Gaps::exponential:
      break;
  }
  return ExponentialGaps(1.0);
}

TimeNs window_length(const std::vector<ServegenWindow>& windows, std::size_t index) {
  if (windows.size() == 1) return default_window_ns;
  if (index + 1 == windows.size()) --index;
  return windows[index + 1].start_ns - windows[index].start_ns;
}

double expected_requests(const std::vector<ServegenWindow>& windows, std::size_t index,
                         double rate_factor) {
  const double length_s = static_cast<double>(window_length(windows, index)) * 1e-9;
  return windows[index].requests_per_s * rate_factor * length_s;
}

class ServegenReader final : public TraceReader {
 public:
  ServegenReader(ServegenClient client, ServegenOptions options)
      : client_(std::move(client)),
        options_(options),
        length_random_(Random(options.seed).derived(1)) {}

  const TraceInfo& info() const override { return info_; }
  TraceCounts counts() const override { return counts_; }

  Result<bool> next(TraceRequest& request) override {
    for (;;) {
      while (left_ == 0) {
        if (next_window_ == client_.windows.size()) return false;
        start_window(next_window_++);
      }
      --left_;
      ++counts_.rows;
      gap_sum_ += draw_gap(gaps_, gap_random_);
      if (lengths_ == nullptr) {
        ++counts_.left_out;
        continue;
      }
      request.input_tokens = lengths_->input->draw(length_random_);
      request.output_tokens = lengths_->output->draw(length_random_);
      if (request.input_tokens == 0) {
        ++counts_.zero_input;
        continue;
      }
      break;
    }
    ++counts_.requests;
    counts_.zero_output += request.output_tokens == 0;
    const double share = gap_total_ > 0 ? std::min(1.0, gap_sum_ / gap_total_) : 0;
    request.arrival_ns = start_ns_ + std::llround(share * static_cast<double>(window_ns_));
    request.prefix_blocks.clear();
    request.line = 0;
    return true;
  }

 private:
  void start_window(std::size_t index) {
    const ServegenWindow& window = client_.windows[index];
    if (window.start_ns < options_.from_ns || window.start_ns >= options_.to_ns) return;
    start_ns_ = window.start_ns - options_.from_ns;
    window_ns_ = window_length(client_.windows, index);
    Random random = Random(options_.seed).derived(2).derived(index);
    const double expected = expected_requests(client_.windows, index, options_.rate_factor);
    // Rates are counts over 600 s: without the tolerance, 16.999999999 would lose a request.
    const double whole = std::floor(expected + 1e-6);
    left_ = static_cast<std::uint64_t>(whole) + (random.chance(expected - whole) ? 1 : 0);
    gaps_ = gaps_of(window);
    // The gaps are drawn twice from the same numbers, first for their sum, so that none is held.
    // One more than there are requests: the last leads to the end of the window.
    gap_random_ = random;
    gap_total_ = gap_sum_ = 0;
    for (std::uint64_t i = 0; i <= left_; ++i) gap_total_ += draw_gap(gaps_, gap_random_);
    gap_random_ = random;
    gaps_ = gaps_of(window);
    lengths_ = lengths_at(window.start_ns);
  }

  /// Null where there are none.
  const ServegenLengths* lengths_at(TimeNs time_ns) const {
    const auto after =
        std::ranges::upper_bound(client_.lengths, time_ns, {}, &ServegenLengths::start_ns);
    if (after == client_.lengths.begin()) return nullptr;
    const ServegenLengths& lengths = *std::prev(after);
    return lengths.input && lengths.output ? &lengths : nullptr;
  }

  ServegenClient client_;
  ServegenOptions options_;
  TraceInfo info_;
  TraceCounts counts_;
  Random length_random_;

  std::size_t next_window_ = 0;
  // Of the window in progress:
  std::uint64_t left_ = 0;  // requests
  TimeNs start_ns_ = 0, window_ns_ = 0;
  const ServegenLengths* lengths_ = nullptr;
  GapDistribution gaps_;
  Random gap_random_{0};
  double gap_sum_ = 0, gap_total_ = 0;
};

}  // namespace

Result<std::vector<ServegenWindow>> read_servegen_windows(std::unique_ptr<std::istream> bytes,
                                                          std::string name) {
  Result<TextInput> input = begin_text(std::move(bytes), std::move(name));
  if (!input) return input.error();
  return windows_of(std::move(*input));
}

Result<std::vector<ServegenLengths>> read_servegen_lengths(std::unique_ptr<std::istream> bytes,
                                                           std::string name) {
  Result<TextInput> input = begin_text(std::move(bytes), std::move(name));
  if (!input) return input.error();
  return lengths_of(std::move(*input));
}

Result<ServegenClient> load_servegen_client(const std::string& trace_path,
                                            const std::string& dataset_path) {
  Result<TextInput> trace = open_text(trace_path);
  if (!trace) return trace.error();
  Result<TextInput> dataset = open_text(dataset_path);
  if (!dataset) return dataset.error();
  Result<std::vector<ServegenWindow>> windows = windows_of(std::move(*trace));
  if (!windows) return windows.error();
  Result<std::vector<ServegenLengths>> lengths = lengths_of(std::move(*dataset));
  if (!lengths) return lengths.error();
  return ServegenClient{std::move(*windows), std::move(*lengths)};
}

Result<TraceReaderPtr> generate_servegen(ServegenClient client, ServegenOptions options) {
  if (!(options.rate_factor > 0) || !(options.rate_factor <= 1000))
    return Error::bad_input("expected a rate factor above 0 and up to 1000, found " +
                            std::to_string(options.rate_factor));
  if (options.from_ns < 0 || options.to_ns <= options.from_ns)
    return Error::bad_input("expected a time that starts at 0 or later and ends after its start");
  for (std::size_t i = 0; i < client.windows.size(); ++i)
    if (expected_requests(client.windows, i, options.rate_factor) > window_requests_max)
      return Error::bad_input("a window of a ServeGen client has more than 100 million requests");
  return TraceReaderPtr(std::make_unique<ServegenReader>(std::move(client), options));
}

}  // namespace kvhaul
