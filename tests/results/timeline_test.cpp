// timeline.json keeps the trace-event format: slices of a track nest, an arrow begins and ends
// inside slices, counters are counters. What Perfetto would silently drop is an error here.
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "results/request_sample.h"
#include "results/time_bins.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

Json timeline_of(const std::string& scenario, Streaming streaming, std::uint64_t limit = 60) {
  const OwnFolder folder;
  const fs::path out = folder.path() / "run";
  cli::ReplayRequest request;
  request.trace = sample("chat-200.csv");
  request.scenario = scenario;
  request.streaming = streaming;
  request.limit = limit;
  request.speedup = 6;
  request.real_time = false;
  request.payload = false;
  request.out = out.string();
  const auto result = cli::run_replay(request);
  EXPECT_TRUE(result) << result.error().message;
  return Json::parse(file_text((out / "timeline.json").string()));
}

struct Track {
  std::string name;
  std::vector<std::pair<double, double>> slices;  // in the order of the file
};
using Tracks = std::map<std::pair<int, int>, Track>;

Tracks tracks_of(const Json& events) {
  Tracks tracks;
  for (const Json& event : events) {
    Track& track = tracks[{event["pid"].get<int>(), event["tid"].get<int>()}];
    if (event["ph"] == "M" && event["name"] == "thread_name") track.name = event["args"]["name"];
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"].get<double>(), 0) << event;
    track.slices.emplace_back(event["ts"], event["ts"].get<double>() + event["dur"].get<double>());
  }
  return tracks;
}

class TimelineOf : public ::testing::TestWithParam<std::pair<const char*, Streaming>> {};

TEST_P(TimelineOf, KeepsTheFormat) {
  const auto [scenario, streaming] = GetParam();
  const Json json = timeline_of(scenario, streaming);
  EXPECT_TRUE(json["otherData"]["rule"].get<std::string>().starts_with("every "));
  const Json& events = json["traceEvents"];
  Tracks tracks = tracks_of(events);

  std::map<int, std::string> groups;
  std::map<int, std::pair<const Json*, const Json*>> arrows;
  std::size_t counters = 0;
  for (const Json& event : events) {
    const std::string phase = event["ph"];
    ASSERT_TRUE(phase == "M" || phase == "X" || phase == "C" || phase == "s" || phase == "f");
    if (phase == "M" && event["name"] == "process_name")
      groups[event["pid"]] = event["args"]["name"];
    if (phase == "C") {
      ++counters;
      for (const auto& [unit, value] : event["args"].items()) EXPECT_GE(value.get<double>(), 0);
    }
    if (phase == "s") arrows[event["id"]].first = &event;
    if (phase == "f") {
      arrows[event["id"]].second = &event;
      EXPECT_EQ(event["bp"], "e");
    }
  }
  EXPECT_EQ(groups.size(), 5u);
  EXPECT_GT(counters, 0u);

  // Two slices of a track lie apart or one within the other. Nanoseconds are thousandths.
  std::map<std::string, std::size_t> slices_of_group;
  for (auto& [id, track] : tracks) {
    slices_of_group[groups[id.first]] += track.slices.size();
    EXPECT_TRUE(track.slices.empty() || !track.name.empty());
    std::stable_sort(track.slices.begin(), track.slices.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first < b.first : a.second > b.second;
    });
    std::vector<double> open;
    for (const auto& [from, to] : track.slices) {
      while (!open.empty() && open.back() <= from + 1e-4) open.pop_back();
      EXPECT_TRUE(open.empty() || to <= open.back() + 1e-4) << track.name << " at " << from;
      open.push_back(to);
    }
  }
  for (const char* group : {"requests", "chunks on channels", "chunks on links"})
    EXPECT_GT(slices_of_group[group], 0u) << group;

  // Every arrow has both ends, does not go back in time, and each end lies inside a slice.
  EXPECT_GE(arrows.size(), 60u);
  for (const auto& [id, ends] : arrows) {
    ASSERT_TRUE(ends.first != nullptr && ends.second != nullptr) << id;
    EXPECT_LE((*ends.first)["ts"].get<double>(), (*ends.second)["ts"].get<double>());
    for (const Json* end : {ends.first, ends.second}) {
      const double at = (*end)["ts"];
      const Track& track = tracks.at({(*end)["pid"], (*end)["tid"]});
      EXPECT_TRUE(std::any_of(track.slices.begin(), track.slices.end(), [&](const auto& s) {
        return s.first <= at && at < s.second;
      })) << *end;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, TimelineOf,
                         ::testing::Values(std::pair{"dgx-h100-pair", Streaming::chunk_layer},
                                           std::pair{"dgx-h100-pair", Streaming::request},
                                           std::pair{"dgx-h100-pair", Streaming::layer},
                                           std::pair{"pcie-pair", Streaming::chunk},
                                           std::pair{"laptop", Streaming::chunk_layer}));

/// 3,000 requests whose time to first token is any, of which every eighth is kept, and the slowest.
TEST(RequestSample, KeepsTheSlowestWholeWhateverElseItDrops) {
  ReplayConfig config;
  config.prefill.timing = make_table_timing({{{0, 1}, {1000, 2}}, {{1, 1}}});
  RequestSample sample(config);
  std::vector<std::pair<TimeNs, std::uint64_t>> slowest;
  for (std::uint64_t number = 0; number < 3000; ++number) {
    RequestResult result;
    result.request = number;
    result.input_tokens = 100;
    result.retries = 1;
    result.joined_ns = static_cast<TimeNs>(number * 7919 % 2003);
    slowest.emplace_back(-result.joined_ns, number);
    TransferRow lost, kept;
    kept.retry = 1;
    sample.add(result, {lost, kept, kept});
  }
  std::ranges::sort(slowest);
  slowest.resize(RequestSample::slowest_max);
  EXPECT_EQ(sample.every(), 8u);
  const std::vector<TimelineRequest> kept = sample.requests();
  EXPECT_TRUE(std::ranges::is_sorted(kept, std::less_equal(), [](const TimelineRequest& r) {
    return r.result.request;
  })) << "each once";
  std::size_t found = 0, sampled = 0;
  for (const TimelineRequest& request : kept) {
    EXPECT_EQ(request.rows.size(), 2u) << "of the last attempt";
    EXPECT_EQ(request.chunk_ended_ns.size(), 1u);
    sampled += request.result.request % 8 == 0 ? 1 : 0;
    found += std::ranges::count(slowest, request.result.request,
                                &std::pair<TimeNs, std::uint64_t>::second);
  }
  EXPECT_EQ(sampled, 3000u / 8);
  EXPECT_EQ(found, RequestSample::slowest_max);
}

// 1000 bytes for half of the first bin, 3000 for a quarter of the second: 500 and 750 on average.
TEST(QueueMeter, MeanBytesPerBin) {
  QueueMeter meter;
  meter.add(ms_ns / 4, 3 * ms_ns / 4, 1000);
  meter.add(5 * ms_ns / 4, 3 * ms_ns / 2, 3000);
  ASSERT_EQ(meter.bins(), 2u);
  EXPECT_DOUBLE_EQ(meter.mean(0), 500);
  EXPECT_DOUBLE_EQ(meter.mean(1), 750);
  meter.add(7, 7, 1000);  // no time
  EXPECT_DOUBLE_EQ(meter.mean(0), 500);
}

// Wider bins hold the same: bytes x time.
TEST(QueueMeter, BinsGetWiderInLongRuns) {
  QueueMeter meter;
  for (TimeNs at = 0; at < 2000 * ms_ns; at += 5 * ms_ns) meter.add(at, at + 2 * ms_ns, 500);
  EXPECT_EQ(meter.bin_ns(), 4 * ms_ns);
  EXPECT_LE(meter.bins(), QueueMeter::bins_max);
  double sum = 0;
  for (std::size_t b = 0; b < meter.bins(); ++b)
    sum += meter.mean(b) * static_cast<double>(meter.bin_ns());
  EXPECT_DOUBLE_EQ(sum, 400.0 * 500 * 2 * ms_ns);
}

}  // namespace
}  // namespace kvhaul::test
