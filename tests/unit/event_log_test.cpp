#include "core/event_log.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "tests/support/own_folder.h"
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
  const auto nothing = hash_without_timers({}, "run.log");
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().message, "run.log: byte 0: the log is truncated in its head");
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
  const test::OwnFolder folder;
  const std::string path = folder.file("run.log");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(log.data()), static_cast<std::streamsize>(log.size()));
  const auto report = verify_log(path);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->identical);
  std::filesystem::remove(path);
  const auto gone = verify_log(path);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().message, path + ": cannot be read: No such file or directory");
}

TEST(EventLog, AFullDiskIsReported) {
  const SchedulerSetup setup = test::one_pair(1);
  EventLogWriter writer(std::vector{setup}, [](std::span<const std::uint8_t>) { return false; });
  const auto closed = writer.close();
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().message, "the event log could not be written to its end");
}

// A log goes to its file by the megabyte. Nothing is written behind a piece that was lost, and the
// run goes on unless it was to end.
TEST(EventLog, IsHandedOnPieceByPieceUntilOneIsLost) {
  const std::vector<SchedulerSetup> setups = {test::one_pair(1)};
  for (const int works : {1000, 2, 0}) {
    std::vector<std::size_t> pieces;
    int calls = 0;
    EventLogWriter writer(setups, [&](std::span<const std::uint8_t> bytes) {
      if (calls++ == works) return false;
      pieces.push_back(bytes.size());
      return true;
    });
    for (int i = 0; i < 3'500'000; ++i) writer.timer(0, 0);
    EXPECT_EQ(pieces.size(), static_cast<std::size_t>(std::min(works, 3)));
    for (const std::size_t piece : pieces) EXPECT_EQ(piece, std::size_t{1} << 20);
    EXPECT_FALSE(writer.run_must_end());
    writer.end_run_on_failure();
    EXPECT_EQ(writer.run_must_end(), works < 3);
    EXPECT_EQ(static_cast<bool>(writer.close()), works == 1000);
    EXPECT_EQ(calls, works == 1000 ? 5 : works + 1);
  }
}

/// A log of exactly that many bytes, a few more or less than a block: timers at time 0, and at
/// 1000 ns a transfer of many pieces.
std::vector<std::uint8_t> log_of(std::size_t size) {
  const SchedulerSetup setup = test::one_pair(1);
  const auto with = [&](std::size_t timers) {
    std::vector<Descriptor> pieces(1'385'000);
    for (std::size_t i = 0; i < pieces.size(); ++i) pieces[i] = {i * 8, i * 8, 8};  // 3 bytes each
    TransferRequest request;
    request.pair = 0;
    request.descriptors = pieces;
    std::vector<std::uint8_t> log;
    EventLogWriter writer(std::vector{setup}, [&log](std::span<const std::uint8_t> bytes) {
      log.insert(log.end(), bytes.begin(), bytes.end());
      return true;
    });
    Scheduler scheduler(setup);
    for (std::size_t i = 0; i < timers; ++i) writer.timer(0, 0);  // a byte each
    writer.submit(0, 1000, request);
    scheduler.submit(1000, request);
    DecisionMark mark;
    writer.decisions(scheduler.actions(), mark);
    EXPECT_TRUE(writer.close());
    return log;
  };
  static const std::size_t least = with(20'000).size();  // so many records are counted in 3 bytes
  auto log = with(20'000 + size - least);
  EXPECT_EQ(log.size(), size);
  return log;
}

class TemporaryLog {
 public:
  explicit TemporaryLog(std::span<const std::uint8_t> bytes) {
    std::ofstream(path(), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  std::string path() const { return folder_.file("blocks.log"); }

 private:
  test::OwnFolder folder_;
};

// A file is read by blocks of 4 MiB. Whatever a block ends in, a record, an end mark, or the
// beginning of another log, nothing is read twice and nothing is left out.
TEST(EventLog, ABlockMayEndAnywhere) {
  const auto second = recorded_run();
  constexpr std::size_t block = 4 << 20;
  for (const std::size_t size : {block - 19, block - 11, block - 10, block - 1, block, block + 8}) {
    auto logs = log_of(size);
    logs.insert(logs.end(), second.begin(), second.end());
    const TemporaryLog both(logs);
    const auto two = verify_log(both.path());
    ASSERT_TRUE(two) << size << ": " << two.error().message;
    EXPECT_TRUE(two->identical) << size << ": " << two->first_difference;
    EXPECT_EQ(two->logs, 2u) << size;
    EXPECT_EQ(two->transfers, 21u) << size;
  }
  // Here it is the submission that the block ends in.
  auto log = log_of(block + 2'000);
  const TemporaryLog alone(log);
  const auto one = verify_log(alone.path());
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_TRUE(one->identical) << one->first_difference;
  log[block + 1'000] ^= 1;
  const TemporaryLog damaged(log);
  EXPECT_FALSE(verify_log(damaged.path()));
}

// 1.5 million senders to one place make a head of more than one block.
TEST(EventLog, AHeadMayBeLongerThanABlock) {
  SchedulerSetup setup = test::one_pair(1);
  setup.ledgers.push_back({1, Bytes{1} << 40, 1, {}});
  for (NodeId node = 0; node < 1'500'000; ++node) setup.ledgers[0].senders.push_back(node);
  std::vector<std::uint8_t> log;
  EventLogWriter writer(std::vector{setup}, [&log](std::span<const std::uint8_t> bytes) {
    log.insert(log.end(), bytes.begin(), bytes.end());
    return true;
  });
  ASSERT_TRUE(writer.close());
  ASSERT_GT(log.size(), std::size_t{4} << 20);
  const TemporaryLog file(log);
  const auto report = verify_log(file.path());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->identical);
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

/// What verify says to these records behind the head of one scheduler; "byte 9: " is left out.
std::string told(std::vector<std::uint8_t> records, std::uint64_t count = 0) {
  std::vector<std::uint8_t> log;
  EventLogWriter writer(std::vector{test::one_pair(1)},
                        [&log](std::span<const std::uint8_t> bytes) {
                          log.insert(log.end(), bytes.begin(), bytes.end());
                          return true;
                        });
  EXPECT_TRUE(writer.close());
  log.resize(log.size() - 10);
  log.insert(log.end(), records.begin(), records.end());
  log.push_back(0x0f);
  detail::put_varint(log, count);
  log.resize(log.size() + 8);
  const auto report = verify_log(sealed(log), "log");
  if (!report) {
    const std::string& text = report.error().message;
    return text.substr(text.find(": ", text.find("byte ")) + 2);
  }
  return report->identical ? "identical" : "other decisions";
}

std::vector<std::uint8_t> operator+(std::vector<std::uint8_t> a, std::uint64_t number) {
  detail::put_varint(a, number);
  return a;
}

/// First bytes: kind, 0x10 same scheduler, 0x20 same time, 0x40 one piece or as posted. Zigzag: a
/// difference is doubled.
TEST(EventLog, EveryValueOutOfRangeIsDamage) {
  using Bits = std::vector<std::uint8_t>;
  constexpr std::uint64_t latest = std::uint64_t{3} << 60, tib16 = std::uint64_t{1} << 44,
                          offset_max = std::uint64_t{1} << 60;
  const std::string submit = "a damaged submit event", complete = "a damaged completion event";
  // Pair, priority, two segments, no deadline, tag.
  const Bits one = {0x71, 0, 0, 0, 0, 0, 0}, many = {0x31, 0, 0, 0, 0, 0, 0};
  const Bits chunk = {0x33, 0, 0, 0};  // slot, generation, channel
  struct Case {
    Bits records;
    std::string text;
  };
  for (const Case& c : {
           Case{{0x00}, "expected an event, found a record of kind 0"},
           Case{{0x07}, "expected an event, found a record of kind 7"},
           Case{{0x08, 0, 0, 0}, "expected an event, found a record of kind 8"},
           Case{{0x0c, 0}, "expected an event, found a record of kind 12"},
           Case{{0x0d}, "expected an event, found a record of kind 13"},
           Case{{0x36, 0x0e}, "expected an event, found a record of kind 14"},
           Case{{0x1f}, "a damaged end mark"},
           Case{{0x36, 0x08}, "other decisions"},
           Case{{0x36, 0x0c}, "other decisions"},
           Case{{0x36, 0x07}, "expected an event, found a record of kind 7"},
           Case{{0x26, 0}, "other decisions"},
           Case{{0x26, 1}, "a damaged timer event"},
           Case{{0x16, 0}, "other decisions"},  // what is the same has a flag
           Case{Bits{0x16} + latest, "its end mark counts 0 records, but there are 1"},
           Case{Bits{0x16} + (latest + 1), "a damaged timer event"},
           Case{{0x36, 0x36, 0x36}, "its end mark counts 0 records, but there are 3"},
           Case{{0x71, 1}, submit},              // pair
           Case{{0x71, 0, 3}, submit},           // priority
           Case{{0x71, 0, 0, 0, 0, 2}, submit},  // whether there is a deadline
           Case{Bits{0x71, 0, 0, 0, 0, 1} + 2 * (latest + 1), submit},
           Case{Bits{0x71, 0, 0, 0, 0, 1} + (2 * latest + 1), submit},  // before -latest
           Case{many + 0, submit},
           Case{one + 0 + 0 + 0, submit},  // no bytes
           Case{one + 0 + 0 + 2 * tib16, "other decisions"},
           Case{one + 0 + 0 + 2 * (tib16 + 1), submit},
           Case{one + 2 * offset_max + 0 + 2, "other decisions"},
           Case{one + 2 * (offset_max + 1) + 0 + 2, submit},
           Case{one + 0 + 2 * offset_max + 2, "other decisions"},
           Case{one + 0 + 2 * (offset_max + 1) + 2, submit},
           Case{many + 2 + 0 + 0 + 2 * (tib16 - 1) + 0 + 0 + (2 * (tib16 - 2) - 1),
                "other decisions"},  // 16 TiB - 1 and one byte
           Case{many + 2 + 0 + 0 + 2 * (tib16 - 1) + 0 + 0 + (2 * (tib16 - 3) - 1), submit},
           Case{{0x73, 0}, complete},  // as posted, but nothing was
           Case{chunk + 5 + 0 + 0 + 0, "its end mark counts 0 records, but there are 1"},
           Case{chunk + 6 + 0 + 0 + 0, complete},  // outcome
           Case{chunk + 0 + 2 * (latest + 1) + 0 + 0, complete},
           Case{chunk + 0 + 0 + 2 * (latest + 1) + 0, complete},
           Case{chunk + 0 + 0 + 0 + 2 * (latest + 1), complete},
           Case{{0x34, 0, 2}, "a damaged channel change event"},
           Case{Bits{0x35, 0, 0, 4, 1} + offset_max,
                "its end mark counts 0 records, but there are 1"},
           Case{Bits{0x35, 0, 0, 4, 1} + (offset_max + 1), "a damaged credit event"},
           Case{{0x32, 0x80, 0}, "a damaged cancel event"},  // a zero in two bytes
       })
    EXPECT_EQ(told(c.records), c.text) << testing::PrintToString(c.records);
  EXPECT_EQ(told({}), "identical");
  EXPECT_EQ(told({0x36, 0x36}, 2), "identical");
  EXPECT_EQ(told({}, 3), "its end mark counts 3 records, but there are 0");
}

TEST(EventLog, AHeadThatCannotBeIsRefused) {
  const auto head = [](std::uint64_t schedulers, std::size_t more) {
    std::vector<std::uint8_t> log(recorded_run());
    log.resize(12);  // magic and version
    detail::put_varint(log, schedulers);
    log.resize(log.size() + more);
    const auto report = verify_log(sealed(log), "log");
    return report ? "read" : report.error().message;
  };
  EXPECT_EQ(head(0, 30), "log: byte 0: the head names no scheduler");
  EXPECT_EQ(head(1 << 20, 30), "log: byte 0: the head is damaged");
  EXPECT_EQ(head((1 << 20) + 1, 30),
            "log: byte 0: the head names 1048577 schedulers; expected at most 1048576");
  const auto of = [](const SchedulerSetup& setup) {
    std::vector<std::uint8_t> log;
    EventLogWriter writer(std::vector{setup}, [&log](std::span<const std::uint8_t> bytes) {
      log.insert(log.end(), bytes.begin(), bytes.end());
      return true;
    });
    EXPECT_TRUE(writer.close());
    const auto report = verify_log(log, "log");
    return report ? "read" : report.error().message;
  };
  SchedulerSetup setup = test::one_pair(1);
  EXPECT_EQ(of(setup), "read");
  setup.config.max_attempts = 0;
  EXPECT_EQ(of(setup),
            "log: byte 0: the head is damaged: scheduler setup: expected chunks per transfer, "
            "attempts and quarantine errors above zero");
}

// Up to three of the eleven bytes of the magic may be damaged; with more it is something else.
TEST(EventLog, ADamagedBeginningIsToldFromAnotherFile) {
  for (std::size_t wrong = 1; wrong <= 11; ++wrong) {
    auto log = recorded_run();
    for (std::size_t i = 0; i < wrong; ++i) log[i] ^= 0x80;
    const auto report = verify_log(log, "log");
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().message,
              std::string("log: byte 0: ") + (wrong <= 3 ? "damaged: " : "") +
                  "expected a log written by 'kvhaul replay --record', found something else")
        << wrong;
  }
}

TEST(EventLog, ALogThatEndsInItsMagicIsTruncated) {
  auto log = recorded_run();
  const std::size_t size = log.size();
  log.insert(log.end(), log.begin(), log.begin() + 11);
  const auto report = verify_log(log, "log");
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message,
            "log: byte " + std::to_string(size) + ": damaged: the log is truncated in its head");
}

TEST(EventLog, AWrongChecksumIsNamedAsSuch) {
  auto log = recorded_run();
  log.back() ^= 1;
  const auto report = verify_log(log, "log");
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message.substr(report.error().message.find("damaged")),
            "damaged: the checksum at its end does not fit: the log has been changed");
}

/// One transfer of one chunk, and what has happened by then.
struct Small {
  std::vector<std::uint8_t> log;
  std::size_t submit = 0, decisions = 0;  // where they begin
};
Small small_log() {
  Small small;
  const SchedulerSetup setup = test::one_pair(1);
  EventLogWriter writer(std::vector{setup}, [&](std::span<const std::uint8_t> bytes) {
    small.log.insert(small.log.end(), bytes.begin(), bytes.end());
    return true;
  });
  Scheduler scheduler(setup);
  const Descriptor piece{0, 0, 900};
  TransferRequest request;
  request.pair = 0;
  request.descriptors = {&piece, 1};
  writer.submit(0, 1000, request);
  scheduler.submit(1000, request);
  DecisionMark mark;
  writer.decisions(scheduler.actions(), mark);
  EXPECT_TRUE(writer.close());
  std::vector<std::uint8_t> empty;
  EXPECT_TRUE(EventLogWriter(std::vector{setup}, [&](std::span<const std::uint8_t> bytes) {
                empty.insert(empty.end(), bytes.begin(), bytes.end());
                return true;
              }).close());
  small.submit = empty.size() - 10;
  // First byte, 2 of time, pair, priority, segments, deadline, tag, offsets, 2 of length.
  small.decisions = small.submit + 13;
  return small;
}

TEST(EventLog, ADifferenceSaysWhereItIs) {
  const Small small = small_log();
  ASSERT_EQ(small.log[small.decisions] & 0x0f, 8);  // a post
  auto other = small.log;
  other[small.decisions + 1] ^= 1;  // on another channel
  const auto report = verify_log(sealed(other), "log");
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_FALSE(report->identical);
  EXPECT_EQ(report->first_difference,
            "log: event 1 (submit at 1000 ns, scheduler 0): the recorded decisions differ from the "
            "ones made now, 14 bytes after the event began (byte " +
                std::to_string(small.decisions + 1) + " of the log)");
  // Without a new checksum it is damage, noticed at the same place.
  const auto damaged = verify_log(other, "log");
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().message,
            "log: byte " + std::to_string(small.decisions + 1) +
                ": damaged: the checksum at the end does not fit; it is noticed first in event 1, "
                "at the latest");
}

TEST(EventLog, ReportsCountWhatIsInALog) {
  const auto small = verify_log(small_log().log, "log");
  ASSERT_TRUE(small) << small.error().message;
  EXPECT_EQ(small->logs, 1u);
  EXPECT_EQ(small->schedulers, 1u);
  EXPECT_EQ(small->events, 1u);
  EXPECT_EQ(small->transfers, 1u);
  EXPECT_EQ(small->chunks, 1u);
  EXPECT_EQ(small->decisions, 2u);  // a post and a timer
  const auto run = verify_log(recorded_run(), "log");
  EXPECT_EQ(run->events, 20u + 81);
}

// The checksum is a part of the format.
TEST(StreamHash, IsTheSameHoweverItIsCut) {
  const auto hash = [](std::size_t size, std::size_t cut) {
    std::vector<std::uint8_t> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 37 + 1);
    detail::StreamHash made;
    for (std::size_t at = 0; at < size; at += cut)
      made.add(std::span(bytes).subspan(at, std::min(cut, size - at)));
    return made.value();
  };
  EXPECT_EQ(hash(0, 64), 0xe220a8397b1dcdafu);
  EXPECT_EQ(hash(1, 64), 0xe220a8397b1dcdafu);
  EXPECT_EQ(hash(7, 64), 0xe3ee9b2bbb59979fu);
  EXPECT_EQ(hash(8, 64), 0x388783f1f4ec2ddfu);
  EXPECT_EQ(hash(21, 64), 0x3bc0882106c6cf5bu);
  for (const std::size_t cut : {1, 2, 3, 7, 8, 9, 15})
    EXPECT_EQ(hash(21, cut), hash(21, 21)) << cut;
  // Zeros count.
  const std::vector<std::uint8_t> zeros(17);
  std::vector<std::uint64_t> values;
  for (std::size_t size = 0; size <= zeros.size(); ++size) {
    detail::StreamHash made;
    made.add(std::span(zeros).first(size));
    values.push_back(made.value());
  }
  std::sort(values.begin(), values.end());
  EXPECT_EQ(std::adjacent_find(values.begin(), values.end()), values.end());
}

TEST(LogNumbers, StandThereInSevenBitsEach) {
  using Bits = std::vector<std::uint8_t>;
  const std::vector<std::pair<std::uint64_t, Bits>> numbers = {
      {0, {0}},
      {0x7f, {0x7f}},
      {0x80, {0x80, 1}},
      {0x3fff, {0xff, 0x7f}},
      {0x4000, {0x80, 0x80, 1}},
      {std::uint64_t{1} << 63, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}},
      {~std::uint64_t{0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}}};
  for (const auto& [number, bits] : numbers) {
    Bits out;
    detail::put_varint(out, number);
    EXPECT_EQ(out, bits);
    detail::Cursor in(bits.data(), bits.data() + bits.size());
    EXPECT_EQ(in.varint(), number);
    EXPECT_FALSE(in.failed());
    EXPECT_EQ(in.left(), 0u);
    // Cut off: more bytes would help.
    detail::Cursor cut(bits.data(), bits.data() + bits.size() - 1);
    EXPECT_EQ(cut.varint(), 0u);
    EXPECT_TRUE(cut.failed());
    EXPECT_FALSE(cut.malformed());
  }
  // In more bytes than it takes, and beyond 64 bits: no bytes behind it would help.
  for (const Bits& bits : {Bits{0x80, 0}, Bits{0xff, 0x80, 0},
                           Bits{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2},
                           Bits{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0}}) {
    detail::Cursor in(bits.data(), bits.data() + bits.size());
    EXPECT_EQ(in.varint(), 0u);
    EXPECT_TRUE(in.failed());
    EXPECT_TRUE(in.malformed());
    EXPECT_EQ(in.left(), 0u);
  }
}

TEST(LogNumbers, DifferencesKeepAllSixtyFourBits) {
  constexpr std::uint64_t top = std::uint64_t{1} << 63;
  const std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>> differences = {
      // value, base, coded
      {7, 7, 0},
      {8, 7, 2},
      {6, 7, 1},
      {0, 100, 199},
      {100, 0, 200},
      {std::uint64_t{1} << 62, 0, top},
      {0, std::uint64_t{1} << 62, top - 1},
      {top - 1, 0, ~std::uint64_t{0} - 1},
      {top, 0, ~std::uint64_t{0}},
      {0, ~std::uint64_t{0}, 2}};
  for (const auto& [value, base, coded] : differences) {
    std::vector<std::uint8_t> out, expected;
    detail::put_difference(out, value, base);
    detail::put_varint(expected, coded);
    EXPECT_EQ(out, expected) << value << " from " << base;
    detail::Cursor in(out.data(), out.data() + out.size());
    EXPECT_EQ(in.difference(base), value);
  }
}

TEST(LogNumbers, FlagsAreZeroOrOne) {
  for (const std::uint8_t value : std::vector<std::uint8_t>{0, 1, 2, 255}) {
    detail::Cursor in(&value, &value + 1);
    EXPECT_EQ(in.flag(), value == 1);
    EXPECT_EQ(in.malformed(), value > 1);
    EXPECT_EQ(in.failed(), value > 1);
  }
}

// A slot that no scheduler can have handed out yet is written as it is.
TEST(EventLog, SlotsFarBeyondTheTableAreWrittenOut) {
  const auto records = [](const std::function<void(EventLogWriter&, Actions&)>& write) {
    std::vector<std::uint8_t> log;
    EventLogWriter writer(std::vector{test::one_pair(1)},
                          [&log](std::span<const std::uint8_t> bytes) {
                            log.insert(log.end(), bytes.begin(), bytes.end());
                            return true;
                          });
    writer.timer(0, 0);
    Actions actions;
    write(writer, actions);
    DecisionMark mark;
    writer.decisions(actions, mark);
    EXPECT_TRUE(writer.close());
    std::vector<std::uint8_t> empty;
    EXPECT_TRUE(
        EventLogWriter(std::vector{test::one_pair(1)}, [&](std::span<const std::uint8_t> bytes) {
          empty.insert(empty.end(), bytes.begin(), bytes.end());
          return true;
        }).close());
    return std::vector<std::uint8_t>(log.begin() + static_cast<std::ptrdiff_t>(empty.size()) - 9,
                                     log.end() - 10);
  };
  using Bits = std::vector<std::uint8_t>;
  const auto id = [](std::uint64_t slot, std::uint64_t generation) {
    return generation << 32 | slot;
  };
  // Slots 0, 1 and 5: the third is not the next one, so its generation stands there.
  EXPECT_EQ(records([&](EventLogWriter&, Actions& actions) {
              for (const std::uint64_t slot : {0, 1, 5})
                actions.posts.push_back(
                    {0, {.chunk = id(slot, 0), .bytes = 9, .piece_count = 1, .piece = {0, 0, 9}}});
            }),
            (Bits{0x18, 0, 0, 1, 0, 0, 9, 0x18, 0, 1, 1, 0, 0, 9, 0x08, 0, 5, 0, 1, 0, 0, 9}));
  EXPECT_EQ(records([&](EventLogWriter&, Actions& actions) {
              for (const std::uint64_t slot : {0, 1, 5})
                actions.ends.push_back({.id = id(slot, 1), .chunks = 1});
            }),
            (Bits{0x1a, 0, 0x1a, 1, 0x0a, 5, 1, 0, 0, 1, 0, 0}));
}

}  // namespace
}  // namespace kvhaul
