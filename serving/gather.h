// After a run of several processes: process 0 asks each of the others what it has, and they answer.
// Everything goes to process 0, which alone writes the files of the run.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/exchange.h"
#include "core/scheduler.h"
#include "serving/replay_result.h"
#include "serving/spool.h"
#include "traces/output_file.h"

namespace kvhaul {

/// Of one fault of the script, as one process has met it.
struct FaultCount {
  std::uint64_t chunks = 0;       // that it did something to
  std::uint64_t met_traffic = 0;  // 1: any chunk was where and while it held
};

/// What a process knows of itself.
struct ProcessReport {
  ReplayCounters counters;
  SchedulerCounters schedulers;
  std::string description;  // Backend::description()
  std::string host;
  std::vector<FaultCount> faults;  // by their place in the script
};

void add(ReplayCounters& sum, const ReplayCounters& more);
void add(SchedulerCounters& sum, const SchedulerCounters& more);
void add(std::vector<FaultCount>& sum, const std::vector<FaultCount>& more);
SchedulerCounters counters_of(std::span<const Scheduler> schedulers);

/// The other processes: answers until process 0 has heard enough, and returns what it says of the
/// run in the end.
Result<std::string> answer_questions(Exchange& exchange, const ProcessReport& report,
                                     const std::function<TimeNs()>& now, Spool& observations,
                                     Spool* log);

/// Process 0: asks one of the others. Each call fails when that process is gone.
class Questions {
 public:
  Questions(Exchange& exchange, std::uint32_t rank) : exchange_(exchange), rank_(rank) {}

  Result<ProcessReport> report();
  /// What its clock shows above that of this process, while both still count the run's time.
  Result<ClockOffset> clock(const std::function<TimeNs()>& now);
  /// The next bytes; empty at the end.
  Result<std::string> observations() { return ask("observations"); }
  Result<std::string> log() { return ask("log"); }
  Result<void> end(std::string_view verdict);

 private:
  Result<std::string> ask(std::string_view question);

  Exchange& exchange_;
  std::uint32_t rank_;
};

/// Appends the log of a process to a file: what `read` gives, until that is empty. False when the
/// process is gone before the end of it: nothing of it is then in the file. Fails when it cannot be
/// kept until then; that the file cannot be written is said by the file.
Result<bool> append_log(OutputFile& file, const std::function<Result<std::string>()>& read);

}  // namespace kvhaul
