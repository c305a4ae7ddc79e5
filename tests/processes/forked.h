// A function in a process of its own, which can be stopped and killed.
#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <gtest/gtest.h>

namespace kvhaul::test {

/// Must hold for a fork: the child has this thread only, and a lock that another one held in that
/// moment (the allocator's, say) is held in the child for ever. So forks come first, threads later.
/// A thread that was joined may be seen for a moment more.
inline bool is_alone_in_process() {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
  };
  for (int tries = 0; tries < 1000; ++tries) {
    if (threads() == 1) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

class Forked {
 public:
  explicit Forked(const std::function<std::string()>& body) {
    EXPECT_TRUE(is_alone_in_process()) << "a thread runs beside this fork";
    int ends[2] = {-1, -1};
    if (pipe(ends) != 0) return;
    from_ = ends[0];
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      const std::string words = body();
      (void)!write(ends[1], words.data(), words.size());
      _exit(0);
    }
    close(ends[1]);
  }
  Forked(Forked&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), from_(std::exchange(other.from_, -1)) {}
  Forked& operator=(Forked&&) = delete;
  ~Forked() {
    if (pid_ > 0) kill();
    if (from_ >= 0) close(from_);
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
  }
  void kill() {
    signal(SIGKILL);
    wait();
  }
  /// What it returned, once it has ended; "died" when it did not return.
  std::string end() {
    std::string words;
    char buffer[4096];
    for (ssize_t came; (came = read(from_, buffer, sizeof buffer)) > 0;)
      words.append(buffer, static_cast<std::size_t>(came));
    const int status = wait();
    return WIFEXITED(status) ? words : "died";
  }

 private:
  int wait() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

  pid_t pid_ = -1;
  int from_ = -1;
};

}  // namespace kvhaul::test
