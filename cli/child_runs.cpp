#include "cli/child_runs.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <memory>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace kvhaul::cli {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

struct Child {
  std::size_t number = 0;
  File errors;  // what it says on standard error
};

/// A replay under mpirun would otherwise take itself for a rank.
std::vector<char*> environment_without_mpi() {
  std::vector<char*> kept;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    bool of_mpi = false;
    for (const std::string_view prefix : {"OMPI_", "PMIX_", "ORTE_", "PRTE_", "PMI_"})
      of_mpi = of_mpi || text.starts_with(prefix);
    if (!of_mpi) kept.push_back(*variable);
  }
  kept.push_back(nullptr);
  return kept;
}

/// After fork(): only what may be called there.
[[noreturn]] void become(char* const* arguments, char* const* environment, int errors,
                         pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(126);  // it went before this was asked for
  const int nothing = open("/dev/null", O_RDWR);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
      dup2(errors, STDERR_FILENO) < 0)
    _exit(126);
  execve("/proc/self/exe", arguments, environment);
  _exit(127);
}

/// The child's number, or the reason why there is none.
Result<pid_t> start(const Arguments& arguments, const File& errors) {
  std::vector<std::string> words = {"kvhaul"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::vector<char*> environment = environment_without_mpi();
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become(argv.data(), environment.data(), fileno(errors.get()), parent);
  if (child < 0)
    return Error::failed(std::string("cannot start a process: ") + std::strerror(errno));
  return child;
}

std::string last_line(std::FILE* file) {
  constexpr long tail_bytes = 1 << 16;
  if (std::fseek(file, 0, SEEK_END) != 0) return "";
  const long size = std::ftell(file);
  std::fseek(file, std::max(0L, size - tail_bytes), SEEK_SET);
  std::string text(tail_bytes, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  while (text.ends_with('\n')) text.pop_back();
  text.erase(0, text.find_last_of('\n') + 1);
  constexpr std::string_view prefix = "kvhaul: ";
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

ChildEnd end_of(const Child& child, int status) {
  ChildEnd end;
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  end.errors = last_line(child.errors.get());
  return end;
}

}  // namespace

Result<void> run_children(std::size_t count, std::size_t jobs,
                          const std::function<Arguments(std::size_t)>& arguments_of,
                          const std::function<void(std::size_t, const ChildEnd&)>& ended) {
  std::map<pid_t, Child> running;
  std::size_t next = 0;
  while (next < count || !running.empty()) {
    if (next < count && running.size() < jobs) {
      File errors(std::tmpfile());
      if (!errors)
        return Error::failed(std::string("cannot make a temporary file: ") + std::strerror(errno));
      fcntl(fileno(errors.get()), F_SETFD, FD_CLOEXEC);  // none of the other children's business
      auto child = start(arguments_of(next), errors);
      if (child) {
        running.emplace(*child, Child{next++, std::move(errors)});
        continue;
      }
      if (running.empty()) return child.error();
      // With fewer at a time it may go.
    }
    int status = 0;
    const pid_t gone = waitpid(-1, &status, 0);
    if (gone < 0 && errno == EINTR) continue;
    if (gone < 0)
      return Error::failed(std::string("cannot wait for a process: ") + std::strerror(errno));
    const auto child = running.find(gone);
    if (child == running.end()) continue;  // not one of ours
    ended(child->second.number, end_of(child->second, status));
    running.erase(child);
  }
  return {};
}

}  // namespace kvhaul::cli
