#include "cli/sweep_state.h"

#include <algorithm>
#include <filesystem>

#include "cli/json_text.h"
#include "cli/run_folder.h"
#include "cli/run_processes.h"
#include "scenarios/yaml_reader.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* state_folder = ".sweep";
constexpr const char* identity_file = "sweep.json";

/// Of the files of a run, by name; nothing where it is not whole.
std::optional<Json> digests_of_run(const std::string& run) {
  std::error_code status;
  if (fs::exists(run + "/" + unfinished_mark, status)) return std::nullopt;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(run, status), end; !status && entry != end;
       entry.increment(status))
    if (entry->is_regular_file(status)) names.push_back(entry->path().filename().string());
  if (status || names.empty()) return std::nullopt;
  std::sort(names.begin(), names.end());
  Json digests = Json::object();
  for (const std::string& name : names) {
    auto digest = digest_of_file(run + "/" + name);
    if (!digest) return std::nullopt;
    digests[name] = *digest;
  }
  return digests;
}

std::optional<Json> read_json(const std::string& path) {
  std::error_code status;
  if (!fs::is_regular_file(path, status)) return std::nullopt;
  auto text = read_text_file(path);
  if (!text) return std::nullopt;
  Json json = Json::parse(*text, nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

Result<void> write(const std::string& path, const Json& json) {
  auto file = OutputFile::create(path, {.force = true, .inputs = {}});
  if (!file) return file.error();
  file->text(json_text(json));
  return file->close();
}

}  // namespace

Json identity_json(const SweepIdentity& identity) {
  Json json = Json::object();
  for (const auto& [name, value] : identity) json[name] = value;
  return json;
}

std::optional<SweepIdentity> read_identity(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  SweepIdentity identity;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_string()) return std::nullopt;
    identity.emplace_back(name, value.get<std::string>());
  }
  return identity;
}

Result<void> check_same_sweep(const std::string& folder, const SweepIdentity& found,
                              const SweepIdentity& asked) {
  for (std::size_t i = 0; i < asked.size(); ++i)
    if (i >= found.size() || found[i] != asked[i])
      return Error::bad_input("--resume: the sweep in " + folder + " differs in its " +
                              asked[i].first +
                              "; expected the same, or --force without --resume to begin anew");
  return {};
}

SweepState::SweepState(const std::string& folder)
    : folder_(folder), path_(folder + "/" + state_folder) {}

std::optional<SweepIdentity> SweepState::interrupted() const {
  const auto json = read_json(path_ + "/" + identity_file);
  return json ? read_identity(*json) : std::nullopt;
}

Result<void> SweepState::make_folder() const {
  std::error_code status;
  fs::remove_all(path_, status);
  if (!status) fs::create_directory(path_, status);
  if (status) return Error::bad_input("--out: " + path_ + " cannot be made: " + status.message());
  return {};
}

Result<void> SweepState::begin(const SweepIdentity& identity) const {
  if (auto ok = make_folder(); !ok) return ok;
  return write(path_ + "/" + identity_file, identity_json(identity));
}

std::string SweepState::row_file(const SweepPoint& point) const {
  return path_ + "/" + std::to_string(point.number) + ".json";
}

std::optional<SweepRow> SweepState::done(const SweepPoint& point) const {
  const auto json = read_json(row_file(point));
  if (!json || !json->is_object() || !json->contains("row") || !json->contains("files"))
    return std::nullopt;
  const auto files = digests_of_run(folder_ + "/" + point.name);
  if (!files || *files != (*json)["files"]) return std::nullopt;
  try {
    std::vector<SweepRow> rows = rows_of((*json)["row"].dump());
    if (rows.size() == 1 && rows[0].point == point.number) return std::move(rows[0]);
  } catch (const Json::exception&) {
    // Not what was written there.
  }
  return std::nullopt;
}

void SweepState::keep(const SweepPoint& point, const SweepRow& row) const {
  if (row.figures.empty()) return;
  const auto files = digests_of_run(folder_ + "/" + point.name);
  if (!files) return;
  (void)write(row_file(point), {{"row", Json::parse(rows_text({row}))}, {"files", *files}});
}

Result<void> SweepState::end() const {
  std::error_code status;
  fs::remove(path_ + "/" + identity_file, status);  // first: what is left is nothing to go on with
  if (!status) fs::remove_all(path_, status);
  if (status) return Error::failed(path_ + " cannot be removed: " + status.message());
  return {};
}

bool SweepState::is_made_first(const std::string& name) {
  return name == unfinished_mark || name == state_folder || name == "scenarios" ||
         name == "standard-input" || name.ends_with(".part");
}

}  // namespace kvhaul::cli
