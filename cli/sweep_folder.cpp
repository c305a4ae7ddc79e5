#include "cli/sweep_folder.h"

#include <algorithm>
#include <filesystem>

#include "cli/run_processes.h"
#include "cli/trace_files.h"
#include "cli/version.h"
#include "traces/output_file.h"
#include "traces/text_file.h"

namespace kvhaul::cli {
namespace fs = std::filesystem;

std::string standard_input_file(const std::string& out) { return out + "/standard-input"; }
std::string result_file(const std::string& out) { return out + "/sweep.json"; }
std::string scenario_file(const std::string& out, const SweepPoint& point) {
  return out + "/scenarios/" + point.name + ".yaml";
}

Result<void> write_sweep_file(const std::string& path, const std::string& text) {
  auto file = OutputFile::create(path, {.force = true, .inputs = {}});
  if (!file) return file.error();
  file->text(text);
  return file->close();
}

namespace {

/// Standard input as a file that every point can read.
Result<void> spool_trace(const TraceReading& reading, const std::string& path) {
  auto input = open_standard_input();
  if (!input) return input.error();
  auto file = OutputFile::create(path, {.force = true, .inputs = {input_file("-")}});
  if (!file) return file.error();
  file->text(input->head);
  for (std::string part(1 << 16, '\0'); input->bytes->good() && !file->failed();) {
    input->bytes->read(part.data(), static_cast<std::streamsize>(part.size()));
    file->text({part.data(), static_cast<std::size_t>(input->bytes->gcount())});
  }
  if (input->bytes->bad()) return cannot_read(*input->bytes, input->name);
  if (auto ok = file->close(); !ok) return ok;
  auto opened = open_trace(path, reading);
  if (!opened) return opened.error();
  return {};
}

/// All that the results follow from. `trace`: the file with its bytes.
Result<SweepIdentity> identity_of(const Sweep& sweep, const std::string& trace) {
  std::string grid, scenarios, options;
  for (const SweepKey& key : sweep.keys) {
    grid += key.path + "=";
    for (const std::string& value : key.values) grid += value + ",";
    grid += "\n";
  }
  for (const SweepPoint& point : sweep.points) {
    scenarios += point.scenario_digest + "\n";
    for (const std::string& argument : point.arguments)
      if (!argument.starts_with("--trace=") && !argument.starts_with("--faults=") &&
          !argument.starts_with("--scenario="))
        options += argument + "\n";
  }
  auto trace_digest = digest_of_file(trace);
  if (!trace_digest) return trace_digest.error();
  auto fault_digest =
      sweep.faults ? digest_of_file(*sweep.faults) : Result<std::string>(std::string());
  if (!fault_digest) return fault_digest.error();
  return SweepIdentity{
      {"version", version},     {"grid", digest_of(grid)}, {"scenario", digest_of(scenarios)},
      {"trace", *trace_digest}, {"faults", *fault_digest}, {"options", digest_of(options)}};
}

/// Fails where a sweep that was `found` in the folder is not the one that is asked for. Of a trace
/// from a pipe the points that are done have read the file that is there: what comes out of it now
/// is put beside the state and compared.
Result<SweepIdentity> same_identity(const Sweep& sweep, const SweepIdentity& found) {
  std::string trace = sweep.trace;
  if (sweep.spooled) {
    trace = standard_input_file(SweepState(sweep.out).path());
    if (auto ok = spool_trace(*sweep.spooled, trace); !ok) return ok.error();
  }
  auto identity = identity_of(sweep, trace);
  std::error_code status;
  if (sweep.spooled) fs::remove(trace, status);
  if (!identity) return identity;
  if (auto ok = check_same_sweep(sweep.out, found, *identity); !ok) return ok.error();
  return identity;
}

bool all_whole(const std::vector<SweepRow>& rows) {
  return std::all_of(rows.begin(), rows.end(),
                     [](const SweepRow& row) { return !row.figures.empty(); });
}

/// Nothing is there yet, or nothing but what a sweep makes before its first point.
bool has_hardly_begun(const Sweep& sweep) {
  std::error_code status;
  for (fs::directory_iterator entry(sweep.out, status), end; !status && entry != end;
       entry.increment(status))
    if (!SweepState::is_made_first(entry->path().filename().string())) return false;
  return true;
}

}  // namespace

Result<SweepFolder> begin_sweep(const Sweep& sweep) {
  const SweepState state(sweep.out);
  const auto found = sweep.resume ? state.interrupted() : std::nullopt;
  const bool first = sweep.resume && !found && has_hardly_begun(sweep);
  if (sweep.resume && !found && !first && !sweep.force)
    return Error::bad_input("--resume: " + sweep.out +
                            " has no sweep in it that was interrupted; --force writes over what "
                            "is in it");
  SweepFolder begun;
  auto folder = RunFolder::open(sweep.out, sweep.force || found || first, true, {}, {});
  if (!folder) return folder.error();
  begun.folder = std::move(*folder);
  std::error_code status;
  const bool any_edited = std::any_of(sweep.points.begin(), sweep.points.end(),
                                      [](const SweepPoint& p) { return !p.scenario_text.empty(); });
  if (any_edited) fs::create_directories(sweep.out + "/scenarios", status);
  if (status)
    return Error::bad_input("--out: " + sweep.out + " cannot be made: " + status.message());
  if (sweep.spooled && !found)
    if (auto ok = spool_trace(*sweep.spooled, sweep.trace); !ok) return ok.error();
  auto identity = found ? same_identity(sweep, *found) : identity_of(sweep, sweep.trace);
  if (!identity) return identity.error();
  begun.identity = std::move(*identity);
  if (!found)
    if (auto ok = state.begin(begun.identity); !ok) return ok.error();
  return begun;
}

std::optional<Json> whole_sweep(const Sweep& sweep) {
  if (SweepState(sweep.out).interrupted()) return std::nullopt;  // that may be of an older one
  std::error_code status;
  const std::string path = result_file(sweep.out);
  if (!fs::is_regular_file(path, status)) return std::nullopt;
  auto input = open_text(path);
  auto text = input ? read_all(*input, fs::file_size(path, status) + 1) : input.error();
  if (!text) return std::nullopt;
  Json json = Json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("of") || !read_identity(json["of"])) return std::nullopt;
  const auto rows = sweep_rows_of(json);
  if (!rows || !all_whole(*rows)) return std::nullopt;
  return json;
}

Result<std::vector<SweepRow>> rows_of_whole_sweep(const Sweep& sweep, const Json& json) {
  const SweepState state(sweep.out);
  if (sweep.spooled)
    if (auto ok = state.make_folder(); !ok) return ok.error();
  auto same = same_identity(sweep, *read_identity(json["of"]));
  if (sweep.spooled)
    if (auto ok = state.end(); !ok) return ok.error();
  if (!same) return same.error();
  auto rows = sweep_rows_of(json);
  if (rows && rows->size() != sweep.points.size())
    return Error::bad_input(result_file(sweep.out) + ": expected " +
                            std::to_string(sweep.points.size()) + " points, found " +
                            std::to_string(rows->size()));
  return rows;
}

Json result_json(const Sweep& sweep, const SweepIdentity& identity,
                 const std::vector<SweepRow>& rows) {
  Json json = {{"schema", 1}, {"of", identity_json(identity)}};
  json.update(sweep_json(sweep.keys, sweep.points, rows));
  return json;
}

Result<void> end_sweep(const Sweep& sweep, const std::vector<SweepRow>& rows, RunFolder& folder) {
  if (all_whole(rows))
    if (auto ok = SweepState(sweep.out).end(); !ok) return ok;
  return folder.finish();
}

}  // namespace kvhaul::cli
