#include "cli/run_report.h"

#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "core/unit_text.h"
#include "report/page.h"
#include "results/run_directory.h"
#include "scenarios/fault_file.h"
#include "scenarios/scenario.h"
#include "traces/text_file.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;
using faults::Fault;
using faults::FaultKind;

constexpr std::size_t run_file_bytes_max = 16 * MiB;

/// As a shell would need it.
std::string shell_word(const std::string& word) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@%+";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string fault_text(const Fault& fault) {
  const std::string chance =
      fault.probability < 1 ? ", probability " + number_text(fault.probability) : "";
  std::string what;
  switch (fault.kind) {
    case FaultKind::fail:
      what = "chunks fail" + chance;
      break;
    case FaultKind::lose:
      what = "completions lost" + chance;
      break;
    case FaultKind::delay:
      what = "completions " + duration_text(fault.delay_ns) + " late" + chance;
      break;
    case FaultKind::corrupt:
      what = "bytes corrupted" + chance;
      break;
    case FaultKind::degrade:
      what = number_text(100 * fault.factor) + "% of its rate";
      break;
    case FaultKind::down:
      what = fault.silent ? "down, silently" : "down";
      break;
    case FaultKind::fail_registration:
      what = "registration fails";
      break;
  }
  return (fault.where.empty() ? "everywhere" : fault.where) + ": " + what;
}

Result<RunFile> parse_run_file(const std::string& text, const std::string& file) {
  try {
    const YAML::Node root = YAML::Load(text);
    for (const char* key : {"command", "directory", "scenario_file", "scenario"})
      if (!root.IsMap() || !root[key])
        return Error::bad_input(file + ": expected a key '" + key + "', found none");
    RunFile found;
    for (const YAML::Node& word : root["command"])
      if (word.IsScalar()) found.command.push_back(word.as<std::string>());
    if (!found.command.empty()) found.command.erase(found.command.begin());
    found.directory = root["directory"].as<std::string>();
    found.scenario_file = root["scenario_file"].as<std::string>();
    found.scenario = root["scenario"].as<std::string>();
    if (root["faults"]) found.faults = root["faults"].as<std::string>();
    if (root["kvhaul"]) found.version = root["kvhaul"].as<std::string>();
    if (const YAML::Node trace = root["trace"]; trace.IsMap() && trace["file"]) {
      found.trace = trace["file"].as<std::string>();
      if (trace["bytes"]) found.trace_bytes = trace["bytes"].as<std::string>();
    }
    return found;
  } catch (const YAML::Exception& problem) {
    return Error::bad_input(file + ":" + std::to_string(problem.mark.line + 1) +
                            ": expected what a run writes there, it is damaged");
  }
}

}  // namespace

std::string command_text(const Arguments& command_line) {
  std::string out = "kvhaul";
  for (std::size_t i = 0; i < command_line.size(); ++i) {
    const std::string& word = command_line[i];
    // Neither where files go nor what is printed changes the run.
    if (word == "-o" || word == "--out" || word == "--record") {
      ++i;
      continue;
    }
    if (word.starts_with("-o") || word.starts_with("--out=") || word.starts_with("--record=") ||
        word == "--force" || word == "--resume" || word == "--json" || word == "--quiet" ||
        word == "-q")
      continue;
    out += " " + shell_word(word);
  }
  return out;
}

std::vector<report::RunContext::Fault> described_faults(const faults::FaultScript& script) {
  std::vector<report::RunContext::Fault> out;
  for (const Fault& fault : script.faults)
    out.push_back(
        {fault_text(fault) +
             (fault.every_ns == never_ns ? "" : ", every " + duration_text(fault.every_ns)),
         fault.from_ns, fault.until_ns});
  return out;
}

std::vector<FaultUse> faults_to_play(const faults::FaultScript& script) {
  std::vector<FaultUse> out;
  for (const Fault& fault : script.faults)
    out.push_back({fault.line, fault_text(fault), fault.from_ns, fault.until_ns, fault.every_ns});
  return out;
}

Result<void> write_run_report(const std::string& directory, const report::RunContext& context) {
  auto run = read_run_summary(directory);
  if (!run) return run.error();
  auto data = report::run_data(*run, context);
  if (!data) return data.error();
  auto file = OutputFile::create(directory + "/" + report_file);
  if (!file) return file.error();
  return report::write_page(std::move(*file),
                            {report::run_title(*data), report::run_sentence(*data)}, *data);
}

Result<void> replace_run_report(const std::string& file, bool force,
                                const std::vector<std::string>& inputs,
                                const nlohmann::ordered_json& data) {
  auto output = OutputFile::create(file, {force, inputs});
  if (!output) return output.error();
  return report::write_page(std::move(*output),
                            {report::run_title(data), report::run_sentence(data)}, data);
}

Result<RunFile> read_run_file(const std::string& directory) {
  const std::string file = directory + "/run.yaml";
  std::error_code status;
  if (!fs::is_regular_file(file, status))
    return Error::bad_input(file + ": expected a file of the run, found none");
  auto input = open_text(file);
  if (!input) return input.error();
  auto text = read_all(*input, run_file_bytes_max);
  if (!text) return text.error();
  return parse_run_file(*text, file);
}

Result<RunScenario> read_run_scenario(const RunDirectory& run, const RunFile& says) {
  const std::string file = run.path + "/run.yaml";
  // What a scenario names lies beside it, wherever the program is started now.
  auto scenario =
      parse_scenario(says.scenario, (fs::path(says.directory) / says.scenario_file).string());
  if (!scenario) return Error::bad_input(file + ": its scenario: " + scenario.error().message);
  scenario->serving.pull = scenario->routes.pull = run.text("run.direction") == "pull";
  RunScenario made{std::move(*scenario), {}};
  if (!says.faults.empty()) {
    auto script = parse_fault_file(says.faults, file + ": its faults", made.scenario.cluster);
    if (!script) return script.error();
    made.script = std::move(*script);
  }
  return made;
}

Result<RunInputs> read_run_inputs(const std::string& directory) {
  auto run = read_run_directory(directory);
  if (!run) return run.error();
  return read_run_inputs(std::move(*run));
}

Result<RunInputs> read_run_inputs(RunDirectory run) {
  auto says = read_run_file(run.path);
  if (!says) return says.error();
  auto made = read_run_scenario(run, *says);
  if (!made) return made.error();
  auto plan = plan_channels(made->scenario.cluster, place_pairs(made->scenario.serving),
                            made->scenario.routes);
  if (!plan) return Error::bad_input(run.path + "/run.yaml: its scenario: " + plan.error().message);
  return RunInputs{std::move(run), std::move(*says), std::move(made->scenario), std::move(*plan),
                   std::move(made->script)};
}

Result<nlohmann::ordered_json> read_report_data(const std::string& directory) {
  const auto inputs = read_run_inputs(directory);
  if (!inputs) return inputs.error();
  const RunFile& file = inputs->file;
  return report::run_data(inputs->run,
                          {inputs->scenario.cluster, inputs->scenario.serving, inputs->plan,
                           described_faults(inputs->script), command_text(file.command),
                           file.scenario_file, file.scenario, file.faults});
}

}  // namespace kvhaul::cli
