#include "core/event_log.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/setups.h"

namespace kvhaul {
namespace {

/// A recorded run of a few transfers, one of them with a failed chunk. With `idle_timer` the timer
/// runs out once, at a time when there is nothing to do.
std::vector<std::uint8_t> recorded_run(const SchedulerSetup& setup = test::one_pair(2),
                                       bool idle_timer = false) {
  std::vector<std::uint8_t> log;
  EventLogWriter writer(std::vector{setup}, [&log](std::span<const std::uint8_t> bytes) {
    log.insert(log.end(), bytes.begin(), bytes.end());
    return true;
  });
  Scheduler scheduler(setup);
  std::vector<PostAction> in_flight;
  const auto after = [&] {
    DecisionMark mark;
    writer.decisions(scheduler.actions(), mark);
    for (const PostAction& post : scheduler.actions().posts) in_flight.push_back(post);
    scheduler.actions().clear();
  };
  for (TimeNs t = 0; t < 20; ++t) {
    const Descriptor piece{static_cast<Bytes>(t) * 5000, static_cast<Bytes>(t) * 7000, 3500};
    TransferRequest request;
    request.pair = 0;
    request.tag = static_cast<std::uint64_t>(t);
    request.descriptors = {&piece, 1};
    writer.submit(0, 1000 * t, request);
    scheduler.submit(1000 * t, request);
    after();
  }
  TimeNs now = 20'000;
  if (idle_timer) {
    writer.timer(0, now);
    scheduler.timer(now);
    after();
  }
  for (std::size_t i = 0; i < in_flight.size(); ++i) {
    const PostAction post = in_flight[i];
    const Completion done{post.channel,
                          i == 3 ? Outcome::path_failed : Outcome::ok,
                          post.post.chunk,
                          now,
                          now,
                          now + 5,
                          0};
    now += 10;
    writer.complete(0, now, done);
    scheduler.complete(now, done);
    after();
  }
  EXPECT_TRUE(writer.close());
  EXPECT_TRUE(scheduler.idle());
  return log;
}

TEST(EventLog, ReplaysIdentically) {
  const auto log = recorded_run();
  const auto report = verify_log(log, "run.log");
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->identical) << report->first_difference;
  EXPECT_EQ(report->transfers, 20u);
  EXPECT_EQ(report->chunks, 81u);  // four each, and one again
}

TEST(EventLog, TimersCanBeLeftOutOfAComparison) {
  const auto hash = [](const std::vector<std::uint8_t>& log) {
    const auto value = hash_without_timers(log, "run.log");
    EXPECT_TRUE(value) << value.error().message;
    return value ? *value : 0;
  };
  const auto log = recorded_run();
  // Timers are armed for other times, and one runs out: no other decision.
  SchedulerSetup later = test::one_pair(2);
  later.config.timeout_floor_ns *= 3;
  EXPECT_NE(recorded_run(later), log);
  EXPECT_EQ(hash(recorded_run(later)), hash(log));
  EXPECT_NE(recorded_run(later, true), recorded_run(later));
  EXPECT_EQ(hash(recorded_run(later, true)), hash(log));
  // The first completion of a chunk comes at the same time; the chunks are others.
  SchedulerSetup smaller = test::one_pair(2);
  smaller.config.chunk_bytes = 500;
  EXPECT_NE(hash(recorded_run(smaller)), hash(log));
  auto damaged = log;
  damaged[log.size() / 2] ^= 0x40;
  EXPECT_FALSE(hash_without_timers(damaged, "run.log"));
}

TEST(EventLog, LogsBehindEachOtherAreOne) {
  auto logs = recorded_run();
  const std::size_t one = logs.size();
  const auto more = recorded_run();
  logs.insert(logs.end(), more.begin(), more.end());
  const auto report = verify_log(logs, "run.log");
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->identical) << report->first_difference;
  EXPECT_EQ(report->transfers, 40u);
  EXPECT_EQ(report->chunks, 162u);
  // Cut anywhere but between them, or with a changed byte in the second, it is refused.
  for (std::size_t size = one + 1; size < logs.size(); size += 7)
    EXPECT_FALSE(verify_log(std::span(logs).first(size), "run.log")) << size;
  logs[one + 11] = 9;
  const auto other = verify_log(logs, "run.log");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("found version 9"), std::string::npos);
}

TEST(EventLog, HoldsHowPiecesAreGathered) {
  for (std::size_t m = 0; m < gather_count; ++m) {
    SchedulerSetup setup = test::one_pair(1);
    setup.channels[0].numbers.post_ns = 1000;
    // The cheapest by far where it is there; without any each piece is written.
    if (m != 0) setup.channels[0].numbers.gather[m] = {.post_ns = 7, .piece_post_ns = 1};
    std::vector<std::uint8_t> log;
    EventLogWriter writer(std::vector{setup}, [&log](std::span<const std::uint8_t> bytes) {
      log.insert(log.end(), bytes.begin(), bytes.end());
      return true;
    });
    Scheduler scheduler(setup);
    const std::vector<Descriptor> pieces = {{0, 500, 100}, {1000, 0, 100}};
    TransferRequest request;
    request.pair = 0;
    request.descriptors = pieces;
    writer.submit(0, 0, request);
    scheduler.submit(0, request);
    ASSERT_EQ(scheduler.actions().posts.size(), 1u);
    EXPECT_EQ(scheduler.actions().posts[0].post.gather, static_cast<Gather>(m));
    DecisionMark mark;
    writer.decisions(scheduler.actions(), mark);
    ASSERT_TRUE(writer.close());
    const auto report = verify_log(log, "run.log");
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->identical) << report->first_difference;
  }
}

TEST(EventLog, EveryTruncationIsNoticed) {
  const auto log = recorded_run();
  for (std::size_t size = 0; size < log.size(); ++size) {
    const auto report = verify_log(std::span(log).first(size), "run.log");
    ASSERT_FALSE(report) << "cut to " << size << " of " << log.size() << " bytes";
    EXPECT_EQ(report.error().kind, ErrorKind::bad_input);
    EXPECT_NE(report.error().message.find("run.log: byte "), std::string::npos);
  }
}

TEST(EventLog, EveryChangedBitIsNoticed) {
  const auto log = recorded_run();
  for (std::size_t bit = 0; bit < 8 * log.size(); ++bit) {
    auto damaged = log;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    const auto report = verify_log(damaged, "run.log");
    EXPECT_TRUE(!report || !report->identical) << "bit " << bit << " of " << 8 * log.size();
  }
}

TEST(EventLog, NothingMayFollowTheEndMark) {
  auto log = recorded_run();
  log.push_back(0);
  const auto report = verify_log(log, "run.log");
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("expected nothing behind the end mark"), std::string::npos);
}

TEST(EventLog, ADecisionThatDiffersIsNamed) {
  auto log = recorded_run();
  // Behind the last decisions stand 1 byte of end mark, 2 of record count and up to 10 of checksum.
  // Find a changed byte that still reads as a log, and see that it is told where.
  bool named = false;
  for (std::size_t back = 14; back < 40 && !named; ++back) {
    auto damaged = log;
    damaged[log.size() - back] ^= 0x01;
    const auto report = verify_log(damaged, "run.log");
    named = report &&
            report->first_difference.find("differ from the ones made now") != std::string::npos;
  }
  EXPECT_TRUE(named);
}

TEST(EventLog, SaysWhatAFileIsWhenItIsNoLog) {
  const std::string text = "arrival_s,input_tokens,output_tokens\n";
  const auto report = verify_log(
      std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), "t.csv");
  ASSERT_FALSE(report);
  EXPECT_EQ(
      report.error().message,
      "t.csv: byte 0: expected a log written by 'kvhaul replay --record', found something else");
}

TEST(EventLog, RefusesAnotherVersion) {
  auto log = recorded_run();
  log[11] = 9;
  const auto report = verify_log(log, "run.log");
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("expected log format version 3, found version 9"),
            std::string::npos);
}

TEST(EventLog, FilesAreReadInPieces) {
  const auto log = recorded_run();
  const auto path = std::filesystem::temp_directory_path() / "kvhaul-event-log-test.log";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(log.data()), static_cast<std::streamsize>(log.size()));
  const auto report = verify_log(path.string());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->identical);
  std::filesystem::remove(path);
  EXPECT_FALSE(verify_log(path.string()));
}

TEST(EventLog, AFullDiskIsReported) {
  const SchedulerSetup setup = test::one_pair(1);
  EventLogWriter writer(std::vector{setup}, [](std::span<const std::uint8_t>) { return false; });
  EXPECT_FALSE(writer.close());
}

}  // namespace
}  // namespace kvhaul
