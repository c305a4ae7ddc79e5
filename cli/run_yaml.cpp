#include "cli/run_yaml.h"

#include <filesystem>
#include <sys/resource.h>
#include <thread>

#include "cli/trace_files.h"
#include "cli/version.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

std::string utc(std::time_t time) {
  char text[32];
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

std::string indented(const std::string& text) {
  std::string out = "  ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

void write_processes(OutputFile& file, const std::vector<RunProcess>& processes) {
  const auto us = [](TimeNs ns) { return number_text(static_cast<double>(ns) / 1e3, 4); };
  file.text("\nprocesses:");
  for (const RunProcess& process : processes) {
    file.text("\n  - {host: ").text(quoted(process.host));
    file.text(", nodes: [").text(process.nodes).text("]");
    if (process.lost)
      file.text(", lost: true}");
    else
      file.text(", clock_offset_us: ")
          .text(us(process.clock.offset_ns))
          .text(", clock_uncertain_us: ")
          .text(us(process.clock.uncertain_ns))
          .text(",\n     backend: ")
          .text(quoted(process.backend))
          .text("}");
  }
}

}  // namespace

Result<void> write_run_file(const std::string& directory, const ReplayRequest& request,
                            const Scenario& scenario, const std::optional<std::string>& fault_text,
                            const ReplayResult& result, std::time_t started) {
  auto file = OutputFile::create(directory + "/run.yaml");
  if (!file) return file.error();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::string line;
  for (const std::string& argument : request.command_line)
    line += (line.empty() ? "" : ", ") + quoted(argument);
  std::error_code status;
  file->text("kvhaul: ").text(version).text("\ncommand: [kvhaul, ").text(line).text("]\n");
  file->text("directory: ").text(quoted(fs::current_path(status).string())).text("\n");
  file->text("backend: ").text(quoted(result.backend)).text("\n");
  file->text("started: ").text(utc(started)).text("\nfinished: ").text(utc(std::time(nullptr)));
  file->text("\nwall_s: ").real(result.wall_s).text("\npeak_memory_mib: ");
  file->real(static_cast<double>(usage.ru_maxrss) / 1024).text("\nprocessors: ");
  file->number(std::thread::hardware_concurrency());
  if (!result.processes.empty()) write_processes(*file, result.processes);
  file->text("\ntrace:\n  file: ");
  file->text(quoted(request.trace == "-" ? "standard input"
                                         : fs::absolute(request.trace, status).string()));
  file->text("\n  bytes: ");
  const std::uintmax_t bytes = fs::file_size(input_file(request.trace), status);
  file->number(status ? 0 : bytes).text("\nscenario_file: ").text(quoted(scenario.file));
  file->text("\nscenario: |\n").text(indented(scenario.text)).text("\n");
  if (fault_text) file->text("faults: |\n").text(indented(*fault_text)).text("\n");
  return file->close();
}

}  // namespace kvhaul::cli
