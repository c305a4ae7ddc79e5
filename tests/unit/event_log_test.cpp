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

TEST(EventLog, EveryChangedBitIsCalledDamage) {
  const auto one = recorded_run();
  auto two = one;
  two.insert(two.end(), one.begin(), one.end());
  for (const auto& log : {one, two})
    for (std::size_t bit = 0; bit < 8 * log.size(); ++bit) {
      auto damaged = log;
      damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
      const auto report = verify_log(damaged, "run.log");
      ASSERT_FALSE(report) << "bit " << bit << " of " << 8 * log.size();
      EXPECT_EQ(report.error().kind, ErrorKind::bad_input);
      EXPECT_NE(report.error().message.find(": damaged: "), std::string::npos)
          << bit << ": " << report.error().message;
    }
}

/// With the checksum of what stands in it now.
std::vector<std::uint8_t> sealed(std::vector<std::uint8_t> log) {
  log.resize(log.size() - 8);
  detail::StreamHash hash;
  hash.add(log);
  for (unsigned i = 0; i < 64; i += 8) log.push_back(static_cast<std::uint8_t>(hash.value() >> i));
  return log;
}

TEST(EventLog, AnAbsurdNumberOfSchedulersIsRefusedEarly) {
  const auto log = recorded_run();
  std::vector<std::uint8_t> claims(log.begin(), log.begin() + 12);  // magic and version
  detail::put_varint(claims, std::uint64_t{1} << 32);
  claims.resize(claims.size() + 5000);
  const auto report = verify_log(sealed(claims), "run.log");
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message,
            "run.log: byte 0: the head names 4294967296 schedulers; expected at most 1048576");
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
    damaged.at(log.size() - back) ^= 0x01;
    const auto report = verify_log(sealed(damaged), "run.log");
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
  const auto report = verify_log(sealed(log), "run.log");
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message.find("damaged"), std::string::npos);
  EXPECT_NE(report.error().message.find("expected log format version 4, found version 9"),
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

/// Every kind of record, byte by byte as docs/event-log.md has it: writer and reader agree about
/// anything that both leave out, and verify cannot see what is not there.
TEST(EventLog, EveryRecordStandsThereAsTheFormatHasIt) {
  const std::vector<SchedulerSetup> setups = {test::one_pair(1), test::one_pair(1)};
  std::vector<std::uint8_t> log, empty;
  const auto into = [](std::vector<std::uint8_t>& out) {
    return [&out](std::span<const std::uint8_t> bytes) {
      out.insert(out.end(), bytes.begin(), bytes.end());
      return true;
    };
  };
  ASSERT_TRUE(EventLogWriter(setups, into(empty)).close());
  const auto id = [](std::uint64_t slot, std::uint64_t generation) {
    return generation << 32 | slot;
  };
  EventLogWriter writer(setups, into(log));
  DecisionMark mark;
  const auto decide = [&](const Actions& actions) {
    mark = {};
    writer.decisions(actions, mark);
    writer.decisions(actions.timer_ns == never_ns ? actions : Actions{}, mark);  // nothing is new
  };

  const std::vector<Descriptor> one = {{10, 20, 30}}, two = {{100, 200, 50}, {150, 300, 60}};
  writer.submit(1, 1000,
                {.pair = 0,
                 .source_segment = 3,
                 .target_segment = 4,
                 .priority = Priority::high,
                 .deadline_ns = 1500,
                 .tag = 5,
                 .descriptors = one});
  Actions actions;
  actions.posts.push_back({2, {.chunk = id(0, 0), .bytes = 30, .piece_count = 1, .piece = one[0]}});
  actions.timer_ns = 5000;
  writer.decisions(actions, mark);
  writer.complete(1, 1200, {2, Outcome::ok, id(0, 0), 1000, 1010, 1190, 30});
  actions.clear();
  actions.ends.push_back({.id = id(0, 1), .chunks = 1});
  decide(actions);
  writer.submit(1, 1200, {.pair = 0, .priority = Priority::low, .tag = 4, .descriptors = two});
  actions.clear();
  actions.posts.push_back({1,
                           {.chunk = id(0, 2),
                            .bytes = 110,
                            .piece_count = 2,
                            .gather = Gather::pack,
                            .piece = two[0],
                            .pieces = two.data()}});
  actions.messages.push_back({.from = 0, .to = 7, .kind = 1, .place = 3, .value = 300});
  decide(actions);
  writer.timer(0, 1201);
  writer.cancel(0, 1201, id(2, 3));
  actions.clear();
  actions.cancels.push_back({5, id(1, 4)});
  actions.ends.push_back({.id = id(2, 3),
                          .outcome = TransferOutcome::cancelled,
                          .fallback_tier = 1,
                          .chunks = 3,
                          .resent_chunks = 2,
                          .resent_bytes = 200});
  decide(actions);
  writer.channel_change(0, 1201, {4, false});
  writer.channel_change(0, 1201, {4, true});
  writer.credit(0, 1201, {.from = 1, .to = 0, .kind = 4, .place = 9, .value = 128});
  writer.complete(0, 1201, {3, Outcome::path_failed, id(1, 4), 1100, 1150, 1201, 0});
  ASSERT_TRUE(writer.close());

  // Varints of 7 bits, lowest first; differences doubled, less one where they are negative.
  const std::vector<std::uint8_t> records = {
      0x41, 0x01, 0xe8, 0x07, 0x00, 0x00, 3,    4,  // submit of one piece, scheduler 1, +1000 ns
      0x01, 0xe8, 0x07, 0x0a, 0x14, 0x28, 0x3c,     // due in 500, tag +5, 10, 20, 30
      0x38, 2,    0,                                // post of the whole, as expected
      0x0c, 0xc0, 0x3e,                             // arm, in 4000
      0x53, 0xc8, 0x01, 0,    0x14, 0x13,           // complete as posted, +200; 10 later, 10 ago
      0x1a, 0,                                      // a plain end
      0x31, 0,    2,    0,    0,    0,    0x01, 2,  // submit, same time; low, not due, tag -1, two
      0xb4, 0x01, 0xe8, 0x02, 0x28, 0,    0x64, 0x14, 0x88,
      1,    0,    2,    2,    0,    0,    0x6e,  // post, packed, generation 2, 110 bytes
      0x0b, 7,    1,    3,    0xac, 0x02,        // message
      0x06, 0,    1,                             // timer of scheduler 0, +1
      0x32, 2,    3,                             // cancel
      0x09, 5,    1,    4,                       // cancel chunk
      0x0a, 2,    3,    1,    1,    3,    2,    0xc8, 0x01,  // an end that is not plain
      0x34, 4,    0,    0x34, 4,    1,                       // channel changes
      0x35, 1,    0,    4,    9,    0x80, 0x01,              // credit
      0x33, 1,    4,    3,    3,    0xc9, 0x01, 0x64, 0,     // complete, not as posted
      0x0f, 16};                                             // end mark, 16 records
  // Of the empty log the last 10 bytes are its end mark, number of records and checksum.
  const std::size_t head = empty.size() - 10;
  ASSERT_GT(log.size(), head + 8);
  EXPECT_EQ(
      std::vector<std::uint8_t>(log.begin() + static_cast<std::ptrdiff_t>(head), log.end() - 8),
      records);
  EXPECT_EQ(empty[head], 0x0f);
  EXPECT_EQ(empty[head + 1], 0);
}

}  // namespace
}  // namespace kvhaul
