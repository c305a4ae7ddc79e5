// Runs that are made to be limited by one thing, or by two: what table, report, compare and sweep
// name is what the time to first token depends on. The proof is in the test: the same run with a
// tenth more of each thing.
#include "results/limits.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "cli/replay_run.h"
#include "cli/run_report.h"
#include "report/run_data.h"
#include "tests/cli/program.h"

namespace kvhaul::cli {
namespace {

/// What can be had more of.
enum class Thing { prefill, link, posting, window, seats, memory };
constexpr Thing things[] = {Thing::prefill, Thing::link,  Thing::posting,
                            Thing::window,  Thing::seats, Thing::memory};

/// As limits are named; a link by how its name begins.
const char* label_of(Thing thing) {
  static constexpr const char* labels[] = {
      "prefill", "node0/", "posting", "the scheduler's windows", "decode seats", "decode memory"};
  return labels[static_cast<std::size_t>(thing)];
}

/// GPUs of one node, of which the last two decode. A token has 16 KiB of KV.
struct Knobs {
  int prefill_gpus = 1;
  double mfu = 0.5;
  double link_gbytes_per_s = 50;
  double post_us = 0.02;  // a piece; a request of 1,000 tokens has 504 pieces where scattered
  bool scattered = false;
  double credit_kib = 4e6;
  double chunk_kib = 64;
  double fixed_us = 5;
  double memory_mb = 4000;  // of a decode GPU
  int seats = 64;
  double parameters = 1e9;
};

Knobs with_more(Knobs knobs, Thing thing) {
  switch (thing) {
    case Thing::prefill:
      knobs.mfu *= 1.1;
      break;
    case Thing::link:
      knobs.link_gbytes_per_s *= 1.1;
      break;
    case Thing::posting:
      knobs.post_us *= 0.9;
      break;
    case Thing::window:
      knobs.credit_kib = std::max(1.1 * knobs.credit_kib, knobs.credit_kib + knobs.chunk_kib);
      break;
    case Thing::seats:
      knobs.seats = std::max(knobs.seats + 1, knobs.seats * 11 / 10);
      break;
    case Thing::memory:
      knobs.memory_mb *= 1.1;
      break;
  }
  return knobs;
}

std::string number(double value) { return std::to_string(value); }

std::string scenario_text(const Knobs& k) {
  const auto gpu = [](int i) { return "node0/gpu" + std::to_string(i); };
  std::string prefill;
  for (int i = 0; i < k.prefill_gpus; ++i) prefill += (i == 0 ? "" : ", ") + gpu(i);
  const std::string scattered =
      std::string("contiguity: {scattered: ") + (k.scattered ? "true}" : "false}");
  const auto timing = [](double mfu) {
    return "timing: {gpu: h100, mfu: " + number(mfu) + ", prefill_start: 10 us, step_start: 1 ms}";
  };
  return "name: limits\n"
         "cluster:\n"
         "  node_types:\n"
         "    box:\n"
         "      hosts: {count: 1, memory_rate: 1000 GB/s, memory: 64 GiB}\n"
         "      gpus: {count: " +
         std::to_string(k.prefill_gpus + 2) +
         ", memory: 64 GiB, host_link: {out: " + number(k.link_gbytes_per_s) +
         " GB/s, in: 1000 GB/s}}\n"
         "  nodes:\n"
         "    - {type: box}\n"
         "routes:\n"
         "  order: [pcie_p2p]\n"
         "  pcie_p2p: {fixed_cost: " +
         number(k.fixed_us) + " us, post_cost: " + number(k.post_us) +
         " us}\n"
         "model: {name: eight-layers, layers: 8, query_heads: 8, kv_heads: 8, head_dim: 64, "
         "active_parameters: " +
         number(k.parameters) +
         "}\n"
         "serving:\n"
         "  chunk_tokens: 4096\n"
         "  streaming: request\n"
         "  max_batch: " +
         std::to_string(k.seats) + "\n  prefill: {gpus: [" + prefill + "], kv_memory: 4000 MB, " +
         scattered + ", " + timing(k.mfu) + "}\n  decode: {gpus: [" + gpu(k.prefill_gpus) + ", " +
         gpu(k.prefill_gpus + 1) + "], kv_memory: " + number(k.memory_mb) + " MB, " + scattered +
         ", " + timing(0.5) +
         "}\n"
         "scheduler: {chunk: " +
         number(k.chunk_kib) +
         " KiB, channel_window: 100 ms, link_window: 100 ms, credit: " + number(k.credit_kib) +
         " KiB}\n";
}

struct Request {
  double arrival_s = 0;
  int input_tokens = 0, output_tokens = 0;
};
using Requests = std::vector<Request>;

Requests steady(int count, double per_s, int input, int output) {
  Requests requests;
  for (int i = 0; i < count; ++i) requests.push_back({i / per_s, input, output});
  return requests;
}
Requests bursts(int count, double every_s, int size, int input, int output) {
  Requests requests;
  for (int i = 0; i < count; ++i)
    for (int r = 0; r < size; ++r) requests.push_back({i * every_s, input, output});
  return requests;
}

/// Outputs of many lengths, so that the waits of a burst are of many lengths, too.
class Lengths {
 public:
  int between(int least, int most) {
    count_ += 7919;  // a prime
    return least + count_ % (most - least + 1);
  }

 private:
  int count_ = 0;
};

/// Bursts of short prompts wait for seats; between them long ones come one by one.
Requests seats_and_transfers(int shorts, int longs) {
  Requests requests;
  Lengths lengths;
  for (int round = 0; round < 4; ++round) {
    for (int r = 0; r < shorts; ++r)
      requests.push_back({30.0 * round, 100, lengths.between(10, 200)});
    for (int r = 0; r < longs; ++r)
      requests.push_back({30.0 * round + 4 + 0.55 * r, 500 + 7500 * r / longs, 5});
  }
  return requests;
}
/// Bursts of short prompts wait for seats, those of long ones for memory.
Requests seats_and_memory(int shorts, int longs) {
  Requests requests;
  Lengths lengths;
  for (int round = 0; round < 4; ++round) {
    for (int r = 0; r < shorts; ++r)
      requests.push_back({10.0 * round, 100, lengths.between(20, 300)});
    for (int r = 0; r < longs; ++r)
      requests.push_back({10.0 * round + 5, 4000, lengths.between(20, 300)});
  }
  return requests;
}

std::string trace_text(Requests requests) {
  std::ranges::stable_sort(requests, {}, &Request::arrival_s);
  std::string text = "# kvhaul trace 1, block 16 tokens\narrival_s,input_tokens,output_tokens\n";
  for (const Request& r : requests)
    text += number(r.arrival_s) + "," + std::to_string(r.input_tokens) + "," +
            std::to_string(r.output_tokens) + "\n";
  return text;
}

struct Limited {
  std::vector<Thing> by;  // the larger first
  Knobs knobs;
  Requests requests;
};
void PrintTo(const Limited& limited, std::ostream* out) {
  for (const Thing thing : limited.by) *out << label_of(thing) << " ";
}

class Limits : public test::ProgramTest, public ::testing::WithParamInterface<Limited> {
 protected:
  ReplayResult replayed(const Knobs& knobs) {
    write("s.yaml", scenario_text(knobs));
    ReplayRequest request;
    request.trace = (folder() / "t.csv").string();
    request.scenario = (folder() / "s.yaml").string();
    request.out = (folder() / "run").string();
    request.command_line = {"replay", request.trace, "-s", request.scenario};
    request.force = true;
    auto result = run_replay(request);
    EXPECT_TRUE(result) << result.error().message;
    return std::move(*result);
  }
  double median_ms(const Knobs& knobs) {
    return replayed(knobs).summary.ttft_ns.percentile(0.5) / 1e6;
  }
};

TEST_P(Limits, AreNamedEverywhereAndAreWhatItDependsOn) {
  const auto& [by, knobs, requests] = GetParam();
  write("t.csv", trace_text(requests));
  const double median = median_ms(knobs);
  std::map<Thing, double> gained;
  std::string gains;
  for (const Thing thing : things) {
    gained[thing] = 100 * (1 - median_ms(with_more(knobs, thing)) / median);
    gains += std::string(label_of(thing)) + " " + number(gained[thing]) + "%, ";
  }
  SCOPED_TRACE(number(median) + " ms; a tenth more gains: " + gains);
  std::vector<Thing> most(std::begin(things), std::end(things));
  std::ranges::sort(most, std::greater(), [&](Thing thing) { return gained[thing]; });
  for (std::size_t i = 0; i < by.size(); ++i) {
    EXPECT_STREQ(label_of(most[i]), label_of(by[i]));
    EXPECT_GE(gained[by[i]], 2);
  }

  const ReplayResult result = replayed(knobs);
  const auto data = read_report_data(result.directory);
  ASSERT_TRUE(data) << data.error().message;
  const std::string sentence = report::run_sentence(*data);
  std::size_t at = 0;
  for (std::size_t i = 0; i < by.size(); ++i) {
    const std::string label = (i == 0 ? "Limited by " : "; then ") + std::string(label_of(by[i]));
    const std::size_t found = sentence.find(label, at);
    ASSERT_NE(found, std::string::npos) << sentence;
    if (i == 0) {
      EXPECT_EQ(found, 0u) << sentence;
    }
    at = found;
  }
  // One sentence, in words of one line or of several.
  const auto words = [](const std::string& text) {
    std::istringstream in(text);
    std::string out;
    for (std::string word; in >> word;) out += (out.empty() ? "" : " ") + word;
    return out;
  };
  const std::string named = words(sentence.substr(0, sentence.find("; exposed")));
  EXPECT_NE(words(replay_table(result)).find("l" + named.substr(1)), std::string::npos) << named;
  const test::Ran compared = run({"compare", "run", "run"});
  EXPECT_NE(words(compared.out).find("A " + named), std::string::npos) << compared.out;
  const test::Ran swept = run({"sweep", "-t", "t.csv", "-s", "s.yaml", "-o", "points", "-q",
                               "--set", "serving.max_batch=" + std::to_string(knobs.seats)});
  ASSERT_EQ(swept.code, 0) << swept.err;
  const std::string first = by[0] == Thing::link
                                ? sentence.substr(11, sentence.find(':') - 11)
                                : std::string(limit_name(result.summary.limits.at(0).limit));
  EXPECT_NE(text("points/sweep.csv").find("," + first + ","), std::string::npos)
      << text("points/sweep.csv");

  // The proof comes to the same, and is what everybody says from then on.
  ASSERT_EQ(run({"report", "run", "--why"}).code, 0);
  const auto proven = read_run_directory((folder() / "run").string());
  ASSERT_TRUE(proven) << proven.error().message;
  const std::string says = proven->text("limit_sentence");
  std::size_t place = 0;
  for (const Thing thing : by) {
    const std::size_t found = says.find(label_of(thing), place);
    ASSERT_NE(found, std::string::npos) << says;
    place = found + 1;
  }
  EXPECT_TRUE(says.starts_with("Limited by " + std::string(label_of(by[0])))) << says;
  EXPECT_NE(words(run({"compare", "run", "run"}).out).find("A " + says),
            std::string::npos);
}

using enum Thing;
constexpr double whole_kib = 65536;  // a transfer is one chunk

INSTANTIATE_TEST_SUITE_P(
    One, Limits,
    ::testing::Values(
        Limited{{prefill}, {}, steady(60, 5, 1000, 20)},
        Limited{{link}, {.link_gbytes_per_s = 1}, steady(60, 5, 1000, 20)},
        Limited{{posting}, {.post_us = 40, .scattered = true}, steady(60, 5, 1000, 20)},
        Limited{{window}, {.credit_kib = 1280, .fixed_us = 500}, steady(60, 5, 1000, 20)},
        Limited{{seats}, {.seats = 4}, steady(200, 50, 1000, 200)},
        Limited{{memory}, {.memory_mb = 200}, steady(300, 100, 1000, 200)}));

INSTANTIATE_TEST_SUITE_P(
    Two, Limits,
    ::testing::Values(
        Limited{{prefill, link}, {.link_gbytes_per_s = 5}, steady(60, 5, 1000, 20)},
        Limited{{prefill, posting}, {.post_us = 7, .scattered = true}, steady(60, 5, 1000, 20)},
        Limited{{window, prefill}, {.credit_kib = 1280, .fixed_us = 500}, steady(60, 5, 1000, 20)},
        Limited{{link, posting},
                {.link_gbytes_per_s = 1, .post_us = 25, .scattered = true, .chunk_kib = whole_kib},
                steady(60, 5, 1000, 20)},
        Limited{{window, link},
                {.link_gbytes_per_s = 1.3, .credit_kib = 128, .fixed_us = 100},
                steady(60, 5, 1000, 20)},
        Limited{{window, posting},
                {.post_us = 25, .scattered = true, .credit_kib = 128, .fixed_us = 100},
                steady(60, 5, 1000, 20)},
        Limited{{seats, prefill},
                {.prefill_gpus = 22, .mfu = 0.014, .seats = 5},
                bursts(4, 5, 22, 1000, 200)},
        Limited{{seats, link},
                {.prefill_gpus = 22, .link_gbytes_per_s = 0.14, .seats = 5},
                bursts(4, 5, 22, 1000, 200)},
        Limited{{seats, posting},
                {.prefill_gpus = 22, .post_us = 280, .scattered = true, .seats = 5},
                bursts(4, 5, 22, 1000, 200)},
        Limited{{window, seats},
                {.credit_kib = 640, .fixed_us = 1800, .seats = 10},
                seats_and_transfers(100, 44)},
        Limited{{memory, prefill},
                {.prefill_gpus = 42, .mfu = 0.016, .memory_mb = 200},
                bursts(4, 5, 42, 1000, 200)},
        Limited{{memory, link},
                {.prefill_gpus = 42, .link_gbytes_per_s = 0.16, .memory_mb = 200},
                bursts(4, 5, 42, 1000, 200)},
        Limited{{memory, posting},
                {.prefill_gpus = 42, .post_us = 200, .scattered = true, .memory_mb = 200},
                bursts(4, 5, 42, 1000, 200)},
        Limited{{memory, window},
                {.prefill_gpus = 22, .credit_kib = 1280, .fixed_us = 9000, .memory_mb = 105.5},
                bursts(4, 10, 22, 1000, 400)},
        Limited{{seats, memory},
                {.memory_mb = 330, .seats = 5, .parameters = 1e8},
                seats_and_memory(44, 36)}));

}  // namespace
}  // namespace kvhaul::cli
