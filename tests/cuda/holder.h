// A child of the test program that holds GPU memory (main.cpp) until it is killed or left alone.
#pragma once

#include <csignal>
#include <filesystem>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/own_folder.h"

namespace kvhaul::test {

class Holder {
 public:
  Holder() {
    child_ = fork();
    if (child_ != 0) return;
    execl("/proc/self/exe", "cuda_tests", "--hold", path_.c_str(), nullptr);
    _exit(127);
  }
  ~Holder() { kill(); }
  Holder(const Holder&) = delete;

  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  /// Alive, and doing nothing any more.
  void stop() {
    ::kill(child_, SIGSTOP);
    waitpid(child_, nullptr, WUNTRACED);
  }
  /// The exit status of a child that ends by itself.
  int wait_for_end() {
    int status = -1;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& path() const { return path_; }

 private:
  OwnFolder folder_;
  const std::string path_ = folder_.file("socket");
  pid_t child_ = -1;
};

}  // namespace kvhaul::test
