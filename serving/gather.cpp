#include "serving/gather.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <type_traits>

namespace kvhaul {
namespace {

constexpr int round_trips = 32;
constexpr std::string_view end_word = "end ";

/// The counters as they lie in memory: all processes are one version of the program.
struct Counters {
  ReplayCounters replay;
  SchedulerCounters schedulers;
  std::uint64_t faults = 0;  // as many FaultCounts follow
};
static_assert(std::is_trivially_copyable_v<Counters>);
static_assert(std::is_trivially_copyable_v<FaultCount>);

template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

void add(ReplayCounters& sum, const ReplayCounters& more) {
  sum.requests += more.requests;
  sum.completed += more.completed;
  sum.transfer_failed += more.transfer_failed;
  sum.too_large += more.too_large;
  sum.failed_in_trace += more.failed_in_trace;
  sum.retried += more.retried;
  sum.retries += more.retries;
  sum.damaged_transfers += more.damaged_transfers;
  sum.checked_transfers += more.checked_transfers;
  sum.cached_tokens += more.cached_tokens;
  sum.input_tokens += more.input_tokens;
  sum.source_runs += more.source_runs;
  sum.target_runs += more.target_runs;
  sum.no_pages_coming_ns += more.no_pages_coming_ns;
  sum.no_pages_seatless_ns += more.no_pages_seatless_ns;
  sum.no_pages_decoding_ns += more.no_pages_decoding_ns;
  sum.registration_ns = std::max(sum.registration_ns, more.registration_ns);
}

void add(SchedulerCounters& sum, const SchedulerCounters& more) {
  sum.chunks_posted += more.chunks_posted;
  sum.chunks_resent += more.chunks_resent;
  sum.probes += more.probes;
  sum.late += more.late;
  sum.timeouts += more.timeouts;
  sum.errors += more.errors;
  sum.quarantines += more.quarantines;
  sum.readmissions += more.readmissions;
  sum.unexpected += more.unexpected;
}

void add(std::vector<FaultCount>& sum, const std::vector<FaultCount>& more) {
  sum.resize(std::max(sum.size(), more.size()));
  for (std::size_t i = 0; i < more.size(); ++i) {
    sum[i].chunks += more[i].chunks;
    sum[i].met_traffic |= more[i].met_traffic;
  }
}

SchedulerCounters counters_of(std::span<const Scheduler> schedulers) {
  SchedulerCounters sum;
  for (const Scheduler& scheduler : schedulers) add(sum, scheduler.counters());
  return sum;
}

Result<std::string> answer_questions(Exchange& exchange, const ProcessReport& report,
                                     const std::function<TimeNs()>& now, Spool& observations,
                                     Spool* log) {
  while (true) {
    auto question = exchange.receive(0);
    if (!question) return question.error();
    if (question->starts_with(end_word)) return question->substr(end_word.size());
    std::string answer;
    if (*question == "report") {
      answer = bytes_of(Counters{report.counters, report.schedulers, report.faults.size()});
      for (const FaultCount& fault : report.faults) answer += bytes_of(fault);
      answer += report.host + "\n" + report.description;
    } else if (*question == "time") {
      answer = bytes_of(now());
    } else if (*question == "observations" || (*question == "log" && log != nullptr)) {
      auto bytes = (*question == "log" ? *log : observations).read();
      if (!bytes) return bytes.error();
      answer = std::move(*bytes);
    }
    if (auto sent = exchange.send(0, answer); !sent) return sent.error();
  }
}

Result<std::string> Questions::ask(std::string_view question) {
  if (auto sent = exchange_.send(rank_, question); !sent) return sent.error();
  return exchange_.receive(rank_);
}

Result<ProcessReport> Questions::report() {
  auto answer = ask("report");
  if (!answer) return answer.error();
  const Error damaged = Error::failed("process " + std::to_string(rank_) + " sends no report");
  Counters counters;
  if (answer->size() < sizeof counters) return damaged;
  std::memcpy(&counters, answer->data(), sizeof counters);
  const std::size_t left = answer->size() - sizeof counters;
  if (counters.faults > left / sizeof(FaultCount)) return damaged;
  std::vector<FaultCount> faults(counters.faults);
  const std::size_t words = sizeof counters + faults.size() * sizeof(FaultCount);
  if (!faults.empty())
    std::memcpy(faults.data(), answer->data() + sizeof counters, words - sizeof counters);
  const std::size_t line = answer->find('\n', words);
  if (line == std::string::npos) return damaged;
  return ProcessReport{counters.replay, counters.schedulers, answer->substr(line + 1),
                       answer->substr(words, line - words), std::move(faults)};
}

Result<ClockOffset> Questions::clock(const std::function<TimeNs()>& now) {
  ClockOffset best{0, never_ns};
  for (int i = 0; i < round_trips; ++i) {
    const TimeNs before = now();
    auto answer = ask("time");
    if (!answer) return answer.error();
    const TimeNs after = now();
    TimeNs there = 0;
    if (answer->size() != sizeof there)
      return Error::failed("process " + std::to_string(rank_) +
                           " sends something else than a time");
    std::memcpy(&there, answer->data(), sizeof there);
    const TimeNs half = (after - before + 1) / 2;
    if (half < best.uncertain_ns) best = {there - (before + half), half};
  }
  return best;
}

Result<void> Questions::end(std::string_view verdict) {
  return exchange_.send(rank_, std::string(end_word) + std::string(verdict));
}

Result<bool> append_log(OutputFile& file, const std::function<Result<std::string>()>& read) {
  auto spool = Spool::create();
  if (!spool) return spool.error();
  while (true) {
    auto bytes = read();
    if (!bytes) return false;
    if (bytes->empty()) break;
    spool->write(*bytes);
  }
  while (true) {
    auto bytes = spool->read();
    if (!bytes) return bytes.error();
    if (bytes->empty()) return true;
    file.text(*bytes);
  }
}

}  // namespace kvhaul
