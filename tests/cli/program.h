// Runs the program itself, as a shell would: arguments, working folder, exit code, both outputs.
#pragma once

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/own_folder.h"

namespace kvhaul::test {

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string source(const std::string& path) { return KVHAUL_SOURCE_DIR "/" + path; }

struct Ran {
  int code = -1;  // of the exit, or 1000 + the signal that ended it
  std::string out, err;
};

/// Each test works in a new folder of its own, which goes with it.
class ProgramTest : public ::testing::Test {
 protected:
  const std::filesystem::path& folder() const { return own_.path(); }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder() / name); }
  std::string text(const std::string& name) const { return text_of(folder() / name); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder() / name, std::ios::binary) << text;
  }

  /// Programs started from now on have this file of the folder as their standard input.
  void read_from(const std::string& name) { input_ = folder() / name; }

  /// Starts it in the test's folder, its output going to files.
  pid_t start(const std::vector<std::string>& arguments) {
    return start(KVHAUL_PROGRAM, arguments);
  }
  /// Another program, by its path.
  pid_t start(const std::string& program, const std::vector<std::string>& arguments) {
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const std::string at = folder().string();
    const pid_t child = fork();
    if (child != 0) return child;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    if (chdir(at.c_str()) != 0 || dup2(open(".out", flags, 0600), STDOUT_FILENO) < 0 ||
        dup2(open(".err", flags, 0600), STDERR_FILENO) < 0 ||
        (!input_.empty() && dup2(open(input_.c_str(), O_RDONLY), STDIN_FILENO) < 0))
      _exit(126);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  Ran finish(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    Ran ran;
    ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    ran.out = text(".out");
    ran.err = text(".err");
    return ran;
  }
  Ran run(const std::vector<std::string>& arguments) { return finish(start(arguments)); }

  /// It must fail with that code, one line on standard error, and nothing on standard output.
  std::string refused(int code, const std::vector<std::string>& arguments) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, code) << ran.err;
    EXPECT_EQ(ran.out, "");
    EXPECT_TRUE(ran.err.starts_with("kvhaul: ")) << ran.err;
    EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
    EXPECT_LT(ran.err.size(), 700u) << ran.err;
    for (const char c : ran.err.substr(0, ran.err.size() - 1))
      EXPECT_TRUE(c >= ' ' && c <= '~') << ran.err;
    return ran.err.substr(0, ran.err.size() - 1);
  }

 private:
  OwnFolder own_;
  std::filesystem::path input_;  // empty: that of the test
};

}  // namespace kvhaul::test
