#include "results/run_rows.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/unit_text.h"
#include "traces/fields.h"
#include "traces/text_file.h"

namespace kvhaul {
namespace {

Result<TextFile> open_rows(const std::string& path,
                           std::initializer_list<std::string_view> columns) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status))
    return Error::bad_input(path + ": expected a file of the run, found none");
  auto input = open_text(path);
  if (!input) return input.error();
  input->newline_required = true;
  TextFile file(std::move(*input));
  const std::vector<TextFile::Column> wanted(columns.begin(), columns.end());
  if (auto ok = file.read_header(wanted); !ok) return ok.error();
  return file;
}

constexpr auto nothing_more = [](const std::string&) -> Result<void> { return {}; };

/// Gives every row to `read`, which says what is wrong with one; then asks `whole` what is wrong
/// with all of them, and counts them.
template <class Read, class Whole = decltype(nothing_more)>
Result<void> read_rows(const RunDirectory& run, const char* name,
                       std::initializer_list<std::string_view> columns, const Read& read,
                       Whole whole = nothing_more) {
  const std::string path = run.path + "/" + name + ".csv";
  auto file = open_rows(path, columns);
  if (!file) return file.error();
  std::uint64_t rows = 0;
  while (true) {
    auto more = file->next_row();
    if (!more) return more.error();
    if (!*more) break;
    if (auto ok = read(path, *file); !ok) return ok;
    ++rows;
  }
  if (auto ok = whole(path); !ok) return ok;
  const double told = run.number("rows." + std::string(name));
  if (told == static_cast<double>(rows)) return {};
  return Error::bad_input(path + ": expected " + number_text(told, 15) +
                          " rows, which summary.json counts, found " + std::to_string(rows) +
                          ": one of the two is of another run, or cut");
}

/// Puts a field into `value`, or says what was expected there.
template <class Value, class Parsed>
Result<void> put(Value& value, const Parsed& parsed, const std::string& path, const TextFile& file,
                 std::size_t column, std::string_view expected) {
  if (!parsed) return expected_at(path, file.line(), expected, file.field(column));
  value = *parsed;
  return {};
}

}  // namespace

Result<void> read_request_rows(const RunDirectory& run,
                               const std::function<void(const RequestRecord&)>& take) {
  std::vector<std::uint64_t> numbers;
  return read_rows(
      run, "requests",
      {"request",
       "input_tokens",
       "prefill_instance",
       "decode_instance",
       "outcome",
       "arrival_s",
       "line",
       "last_link",
       "queue_ms",
       "prefill_ms",
       "handover_ms",
       "exposed_transfer_ms",
       "prefill_memory_ms",
       "memory_ms",
       "step_ms",
       "seat_ms",
       "e2e_ms",
       "post_ms",
       "wire_ms",
       "detect_ms",
       "window_ms",
       "credit_ms",
       "order_ms",
       "fault_ms",
       "slot",
       "retries"},
      [&](const std::string& path, const TextFile& file) -> Result<void> {
        RequestRecord r;
        const auto field = [&](std::size_t column) { return file.field(column); };
        if (auto ok = put(r.request, parse_whole(field(0)), path, file, 0, "a request's number");
            !ok)
          return ok;
        if (auto ok =
                put(r.input_tokens, parse_tokens(field(1)), path, file, 1, "a number of tokens");
            !ok)
          return ok;
        r.served = !field(2).empty();  // both are empty for what was not replayed
        if (r.served)
          for (const std::size_t column : {2, 3})
            if (auto ok =
                    put(column == 2 ? r.prefill_instance : r.decode_instance,
                        parse_whole(field(column)), path, file, column, "an instance's number");
                !ok)
              return ok;
        r.completed = field(4) == "completed";
        if (auto ok = put(r.arrival_ns, parse_seconds(field(5)), path, file, 5, "seconds"); !ok)
          return ok;
        if (auto ok = put(r.line, parse_whole(field(6)), path, file, 6, "a line's number"); !ok)
          return ok;
        r.last_link = field(7);
        constexpr std::size_t slot_column = 8 + 9 + path_part_count;
        if (r.served)
          for (const auto& [number, column, what] :
               {std::tuple{&r.slot, slot_column, "a slot's number"},
                {&r.retries, slot_column + 1, "a number of retries"}})
            if (auto ok = put(*number, parse_whole(field(column)), path, file, column, what); !ok)
              return ok;
        TimeNs* parts[9 + path_part_count] = {&r.queue_ns,   &r.prefill_ns,        &r.handover_ns,
                                              &r.exposed_ns, &r.prefill_memory_ns, &r.memory_ns,
                                              &r.step_ns,    &r.seat_ns,           &r.e2e_ns};
        for (std::size_t part = 0; part < path_part_count; ++part)
          parts[9 + part] = &r.path.ns[part];
        std::size_t known = r.served ? 2 : 0;  // queue and prefill
        if (r.completed) known = std::size(parts);
        for (std::size_t part = 0; part < known; ++part)
          if (auto ok = put(*parts[part], parse_time(field(8 + part), ms_ns), path, file, 8 + part,
                            "milliseconds");
              !ok)
            return ok;
        numbers.push_back(r.request);
        take(r);
        return {};
      },
      [&](const std::string& path) -> Result<void> {
        std::ranges::sort(numbers);
        const auto twice = std::ranges::adjacent_find(numbers);
        if (twice == numbers.end()) return {};
        return Error::bad_input(path + ": expected each request once, found " +
                                std::to_string(*twice) + " twice");
      });
}

Result<void> read_transfer_rows(const RunDirectory& run,
                                const std::function<void(const TransferRecord&)>& take) {
  return read_rows(
      run, "transfers",
      {"request", "prefill_chunk", "bytes", "resent_chunks", "failed_transfers",
       "damaged_transfers", "submitted_s", "duration_ms"},
      [&](const std::string& path, const TextFile& file) -> Result<void> {
        TransferRecord t;
        std::uint64_t chunk = 0;
        std::uint64_t* const whole[] = {
            &t.request,          &chunk, &t.bytes, &t.resent_chunks, &t.failed_transfers,
            &t.damaged_transfers};
        for (std::size_t column = 0; column < std::size(whole); ++column) {
          auto value = parse_whole(file.field(column));
          if (column == 1 && value && *value > 0xffffffffu) value.reset();
          if (auto ok = put(*whole[column], value, path, file, column, "a whole number"); !ok)
            return ok;
        }
        t.prefill_chunk = static_cast<std::uint32_t>(chunk);
        if (auto ok = put(t.submitted_ns, parse_seconds(file.field(6)), path, file, 6, "seconds");
            !ok)
          return ok;
        if (auto ok =
                put(t.duration_ns, parse_time(file.field(7), ms_ns), path, file, 7, "milliseconds");
            !ok)
          return ok;
        take(t);
        return {};
      });
}

namespace {

/// The bin of a row; the last one of a file may be shorter than the others.
Result<std::size_t> read_bin(const std::string& path, const TextFile& file, std::size_t from_column,
                             TimeNs bin_ns, TimeNs& from, TimeNs& to) {
  const auto expected = [&](std::string_view what, std::size_t column) -> Error {
    return expected_at(path, file.line(), what, file.field(column));
  };
  const auto begin = parse_seconds(file.field(from_column));
  const auto end = parse_seconds(file.field(from_column + 1));
  if (!begin || !end || *end <= *begin) return expected("a stretch of time", from_column + 1);
  if (*end - *begin > bin_ns) return expected("bins of equal width", from_column + 1);
  const auto bin = static_cast<std::size_t>(*begin / bin_ns);
  if (bin >= link_bins_max || *begin % bin_ns != 0)
    return expected("bins of equal width", from_column);
  from = *begin;
  to = *end;
  return bin;
}

}  // namespace

Result<TimeNs> read_instance_rows(const RunDirectory& run,
                                  const std::function<void(const InstanceRecord&)>& take) {
  std::map<std::pair<std::string_view, std::uint64_t>, std::size_t> places;
  for (std::size_t i = 0; i < run.instances.size(); ++i)
    places[{run.instances[i].role, run.instances[i].instance}] = i;
  const auto read = read_rows(
      run, "instances",
      {"role", "instance", "from_s", "to_s", "utilisation", "kv_fill", "queue", "tokens_per_s",
       "batch"},
      [&](const std::string& path, const TextFile& file) -> Result<void> {
        InstanceRecord r;
        std::uint64_t instance = 0;
        if (auto ok =
                put(instance, parse_whole(file.field(1)), path, file, 1, "an instance's number");
            !ok)
          return ok;
        const auto place = places.find({file.field(0), instance});
        if (place == places.end())
          return expected_at(path, file.line(), "an instance that summary.json has, and its role",
                             file.field(0));
        r.place = place->second;
        auto bin = read_bin(path, file, 2, run.instance_bin_ns, r.from_ns, r.to_ns);
        if (!bin) return bin.error();
        r.bin = *bin;
        double* const numbers[] = {&r.utilisation, &r.kv_fill, &r.queue, &r.tokens_per_s};
        for (std::size_t i = 0; i < std::size(numbers); ++i)
          if (auto ok =
                  put(*numbers[i], parse_number(file.field(4 + i)), path, file, 4 + i, "a number");
              !ok)
            return ok;
        if (!file.field(8).empty()) {
          r.batch = parse_number(file.field(8));
          if (!r.batch) return expected_at(path, file.line(), "a batch", file.field(8));
        }
        take(r);
        return {};
      });
  if (!read) return read.error();
  return run.instance_bin_ns;
}

Result<TimeNs> read_link_rows(const RunDirectory& run,
                              const std::function<void(const LinkRecord&)>& take) {
  // The last bin may be shorter than the others, and may be the only one of a link.
  const TimeNs bin_ns = run.link_bin_ns;
  const auto read =
      read_rows(run, "links", {"link", "kind", "from_s", "to_s", "utilisation"},
                [&](const std::string& path, const TextFile& file) -> Result<void> {
                  TimeNs from = 0, to = 0;
                  const auto bin = read_bin(path, file, 2, bin_ns, from, to);
                  if (!bin) return bin.error();
                  const auto use = parse_number(file.field(4));
                  if (!use) return expected_at(path, file.line(), "a utilisation", file.field(4));
                  take({file.field(0), file.field(1), *bin, *use});
                  return {};
                });
  if (!read) return read.error();
  return bin_ns;
}

}  // namespace kvhaul
