#include "cli/interrupt.h"

#include <csignal>
#include <unistd.h>

#include "cli/terminal.h"

namespace kvhaul::cli {
namespace {

std::string line;  // set before the handler is, and kept until it is gone

/// Calls nothing but what a signal handler may call.
void end_program(int signal) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
  _exit(128 + signal);
}

void handle(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

}  // namespace

InterruptNotice::InterruptNotice(const std::string& message) {
  line = std::string(is_terminal(stderr) ? "\r\033[K" : "") + "kvhaul: " + message + "\n";
  handle(end_program);
}

InterruptNotice::~InterruptNotice() { handle(SIG_DFL); }

}  // namespace kvhaul::cli
