#include "tests/validation/rows.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

#include "cli/replay_run.h"
#include "core/unit_text.h"
#include "tests/support/own_folder.h"
#include "tests/validation/flows.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;

Scenario load(const char* name) {
  auto scenario = load_scenario(name);
  if (!scenario) throw std::runtime_error(scenario.error().message);
  return std::move(*scenario);
}

PlaceId gpu(const Scenario& scenario, std::size_t node, std::size_t index) {
  return scenario.cluster.nodes.at(node).gpus.at(index).place;
}

/// Until the last one, in seconds.
double last_s(const Scenario& scenario, const std::vector<Flow>& flows, FlowOptions options) {
  const std::vector<TimeNs> ends = run_flows(scenario, flows, options);
  if (ends.empty()) throw std::runtime_error(scenario.name + ": the flows did not end");
  return static_cast<double>(*std::max_element(ends.begin(), ends.end())) * 1e-9;
}

double sum_of_bytes(const std::vector<Flow>& flows) {
  double sum = 0;
  for (const Flow& flow : flows) sum += static_cast<double>(flow.bytes);
  return sum;
}

/// All flows together, GB/s.
double rate_of(const Scenario& scenario, const std::vector<Flow>& flows, FlowOptions options) {
  return sum_of_bytes(flows) / last_s(scenario, flows, options) / 1e9;
}

// ---- Rows -------------------------------------------------------------------------------------

/// One prompt at a time through the whole replay: what vLLM's log calls the transfer.
void add_mooncake_vllm(std::vector<Row>& rows) {
  const std::map<int, double> published = {{128, 0.54},  {256, 0.61},    {512, 0.92},
                                           {1024, 1.50}, {2048, 2.51},   {4096, 4.75},
                                           {8192, 8.84}, {16384, 16.43}, {32768, 31.65}};
  const test::OwnFolder own;
  const fs::path& folder = own.path();
  std::ofstream trace(folder / "prompts.csv");
  trace << "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  int second = 0;
  for (const auto& [tokens, ms] : published) {
    trace << "2024-01-01 00:00:" << (second < 10 ? "0" : "") << second << ".0000000," << tokens
          << ",2\n";
    second += 5;
  }
  trace.close();
  cli::ReplayRequest request;
  request.trace = (folder / "prompts.csv").string();
  request.scenario = "hgx-h800-roce200";
  request.backend = "simgrid";
  request.out = (folder / "run").string();
  const auto result = cli::run_replay(request);
  if (!result) throw std::runtime_error(result.error().message);
  std::map<int, double> exposed_ms;
  std::ifstream csv(folder / "run" / "requests.csv");
  const auto cells_of = [](const std::string& line) {
    std::istringstream in(line);
    std::vector<std::string> cells;
    for (std::string cell; std::getline(in, cell, ',');) cells.push_back(cell);
    return cells;
  };
  std::string line;
  std::getline(csv, line);
  std::map<std::string, std::size_t> column;
  for (const std::string& name : cells_of(line)) column.emplace(name, column.size());
  while (std::getline(csv, line)) {
    const std::vector<std::string> row = cells_of(line);
    exposed_ms[std::stoi(row.at(column.at("input_tokens")))] =
        std::stod(row.at(column.at("exposed_transfer_ms")));
  }
  fs::remove_all(folder);
  const double token_bytes = static_cast<double>(find_model("qwen3-8b")->token_bytes());
  for (const auto& [tokens, ms] : published)
    rows.push_back({"vLLM + Mooncake, 1P1D, HGX H800, Qwen3-8B at TP8, 8 x 200G RoCE",
                    std::to_string(tokens) + " tokens", "ms", ms, exposed_ms.at(tokens),
                    tokens * token_bytes / 200e9 * 1e3, ""});
}

void add_all_to_all(std::vector<Row>& rows) {
  const std::string group = "NCCL all-to-all";
  const auto inside = [&](const char* name, const char* what, std::size_t nodes, double measured,
                          double line_rate) {
    const Scenario scenario = load(name);
    std::vector<PlaceId> gpus;
    for (std::size_t n = 0; n < nodes; ++n)
      for (std::size_t g = 0; g < scenario.cluster.nodes[n].gpus.size(); ++g)
        gpus.push_back(gpu(scenario, n, g));
    std::vector<Flow> flows;
    for (const PlaceId from : gpus)
      for (const PlaceId to : gpus)
        if (from != to) flows.push_back({from, to, 256 * MiB, 1});
    const double rate = rate_of(scenario, flows, {.kind = RouteKind::nvlink_copy, .pull = true}) /
                        static_cast<double>(gpus.size());
    rows.push_back({group, what, "GB/s", measured, rate, line_rate,
                    "per GPU; every GPU reads from all others, `read_incast`"});
  };
  inside("hgx-a100-hdr", "8 x A100, NVLink 3", 1, 210, 300);
  inside("dgx-h100-pair", "8 x H100, NVLink 4", 1, 320, 450);
  inside("dgx-b200", "8 x B200, NVLink 5", 1, 640, 900);
  inside("gb200-nvl72", "32 GPUs of an NVL72", 8, 640, 900);
  const auto between = [&](const char* name, const char* what, double measured, double line_rate,
                           std::uint32_t rails) {
    const Scenario pair = load(name);
    std::vector<Flow> flows;  // each rail both ways, as all-to-all between nodes with PXN
    for (std::size_t g = 0; g < 8; ++g) {
      flows.push_back({gpu(pair, 0, g), gpu(pair, 1, g), GiB, 1});
      flows.push_back({gpu(pair, 1, g), gpu(pair, 0, g), GiB, 1});
    }
    rows.push_back(
        {group, what, "GB/s", measured, rate_of(pair, flows, {.rails = rails}) / 16, line_rate,
         "what a NIC carries each way, all eight busy both ways; as nccl-tests' busbw, which "
         "counts bytes that stay in the node, it would be 31/24 of that"});
  };
  between("hgx-a100-hdr", "32 GPUs over 8 x 200G a node", 24, 25, 2);
  between("dgx-h100-pair", "32 GPUs over 8 x 400G a node", 48, 50, 1);
}

void add_ports(std::vector<Row>& rows) {
  const std::string group = "Ports and routes";
  {
    const Scenario s = load("roce-400-ecmp");
    const std::size_t other = s.cluster.nodes.size() - 1;
    rows.push_back({group, "NCCL send/recv, one pair, 400G RoCE", "GB/s", 48.4,
                    rate_of(s, {{gpu(s, 0, 0), gpu(s, other, 0), GiB, 1}}, {}), 50,
                    "nccl issue 2409; 13.1 with ACS on, which is not modelled"});
  }
  {
    const Scenario s = load("hgx-h100");
    for (const auto& [bytes, measured] :
         {std::pair<Bytes, double>{128 * KiB, 42.2}, {256 * KiB, 84.5}, {512 * KiB, 140.9}})
      rows.push_back({group, "nixlbench cuda_ipc, 2 x H100, blocks of " + bytes_text(bytes), "GB/s",
                      measured,
                      rate_of(s, {{gpu(s, 0, 0), gpu(s, 0, 1), 2048 * bytes, 2048}},
                              {.kind = RouteKind::nvlink_copy}),
                      450,
                      "nixl issue 115; measured is a floor of 3.1 us a block, modelled is "
                      "half-bandwidth size"});
  }
  {
    const Scenario s = load("hgx-h800");
    std::vector<Flow> to_one, one_to;
    for (std::size_t g = 1; g < 8; ++g) {
      to_one.push_back({gpu(s, 0, g), gpu(s, 0, 0), GiB, 1});
      one_to.push_back({gpu(s, 0, 0), gpu(s, 0, g), GiB, 1});
    }
    const FlowOptions write{.kind = RouteKind::nvlink_copy};
    const FlowOptions read{.kind = RouteKind::nvlink_copy, .pull = true};
    rows.push_back({group, "8 x H800, all write to one", "GB/s", 177.7, rate_of(s, to_one, write),
                    200, "nvbandwidth"});
    rows.push_back({group, "8 x H800, one reads from all", "GB/s", 142, rate_of(s, to_one, read),
                    200, "nvbandwidth"});
    rows.push_back({group, "8 x H800, one writes to all", "GB/s", 176, rate_of(s, one_to, write),
                    200, "nvbandwidth"});
    std::vector<Flow> down, up, both;
    for (std::size_t g = 0; g < 8; ++g) {
      const PlaceId host = s.cluster.nodes[0].hosts[s.cluster.nodes[0].gpus[g].host];
      down.push_back({gpu(s, 0, g), host, GiB, 1});
      up.push_back({host, gpu(s, 0, g), GiB, 1});
    }
    both = down;
    both.insert(both.end(), up.begin(), up.end());
    const FlowOptions staged{.kind = RouteKind::pcie_staged};
    rows.push_back({group, "8 x H800, all to host memory", "GB/s", 359, rate_of(s, down, staged),
                    504, "nvbandwidth"});
    rows.push_back({group, "8 x H800, all from host memory", "GB/s", 441, rate_of(s, up, staged),
                    504, "nvbandwidth"});
    rows.push_back({group, "8 x H800, both at once", "GB/s", 449, rate_of(s, both, staged), 1008,
                    "nvbandwidth; the sum of both ways"});
  }
}

void add_engines(std::vector<Row>& rows) {
  const std::string group = "Transfer engines (their own losses are not modelled here)";
  constexpr Bytes kv = Bytes{131'072} * 327'680;  // LLaMA-3-70B, 128k tokens
  const auto spread = [&](const Scenario& s, std::size_t nics, Bytes bytes) {
    std::vector<Flow> flows;
    for (std::size_t g = 0; g < nics; ++g)
      flows.push_back({gpu(s, 0, g), gpu(s, 1, g), bytes / nics, 1});
    return flows;
  };
  const Scenario roce200 = load("hgx-h800-roce200");
  const Scenario ndr = load("hgx-h800");
  rows.push_back({group, "Mooncake, 40 GiB over 4 x 200G RoCE", "GB/s", 87,
                  rate_of(roce200, spread(roce200, 4, kv), {}), 100,
                  "an upper bound: the wire, not the engine"});
  rows.push_back({group, "Mooncake, 40 GiB over 8 x 400G", "GB/s", 190,
                  rate_of(ndr, spread(ndr, 8, kv), {}), 400,
                  "an upper bound: the engine reached 47% of line rate"});
  {
    std::vector<Flow> flows;
    for (std::size_t a = 0; a < 8; ++a)
      for (std::size_t b = 0; b < 8; ++b)
        if (a != b) flows.push_back({gpu(ndr, 0, a), gpu(ndr, 0, b), 256 * MiB, 1});
    const double rate = rate_of(ndr, flows, {.kind = RouteKind::nvlink_copy}) / 8;
    rows.push_back({group, "DeepEP V1, 8 x H800 inside a node, dispatch", "GB/s", 153, rate, 200,
                    "kernels on SMs; copy engines are simulated"});
    const Scenario b200 = load("dgx-b200");
    for (Flow& flow : flows) {
      flow.from = gpu(b200, 0, (flow.from - gpu(ndr, 0, 0)) % 8);
      flow.to = gpu(b200, 0, (flow.to - gpu(ndr, 0, 0)) % 8);
    }
    rows.push_back({group, "DeepEP V2, 8 x B200", "GB/s", 726,
                    rate_of(b200, flows, {.kind = RouteKind::nvlink_copy}) / 8, 900,
                    "kernels on SMs; copy engines are simulated"});
  }
  rows.push_back({group, "DeepEP V1, EP16 over 2 x 8 x 400G", "GB/s", 43,
                  rate_of(ndr, spread(ndr, 8, 8 * GiB), {}) / 8, 50,
                  "per NIC; small messages, 40 of 50 GB/s effective by DeepSeek-V3's account"});
}

void add_packets(std::vector<Row>& rows) {
  const std::string group = "Packet simulators (htsim), 378,470,400 B a flow, 400 Gb/s";
  constexpr Bytes kv = 378'470'400;
  const Scenario s = load("incast-8to1");
  std::vector<Flow> flows;
  for (std::size_t n = 0; n < 8; ++n) flows.push_back({gpu(s, n, 0), gpu(s, 8, 0), kv, 1});
  const double last_ms = last_s(s, flows, {}) * 1e3;
  const double alone_ms = last_s(s, {flows[0]}, {}) * 1e3;
  rows.push_back({group, "1 flow", "ms", 7.700, alone_ms, 7.569, "RoCE with PFC; NDP 7.773"});
  rows.push_back({group, "8 flows to one host, the last", "ms", 61.51, last_ms, 7.569,
                  "RoCE with PFC; NDP 62.12"});
}

constexpr const char* opening = R"(# Validation

The SimGrid backend against published measurements, each simulated on a scenario that ships, with
the scheduler and the routes that a replay uses. `build/release/tests/validation` prints this page
(`> docs/validation.md` writes it anew); a test compares the two.

Error is simulated / measured - 1. Beside it stands the formula that other serving simulators use,
bytes / line rate, with the line rate of the port. Nothing is fitted but what a note says is the
engine's own; links have the rates of `kvhaul list links`.
)";

constexpr const char* closing = R"(
## What is not here, and why

- Splitwise's 8 ms and 5 ms of transfer that compute does not hide, and DistServe's share of
  latency: their serving engines decide them, and the rows do not say what they moved when.
- LMCache with NIXL, 7,500 tokens in 20 and 8 ms by page size: the model is not named.
- NCCL all-reduce over two nodes: the switches reduce on the way; no transfer does.
- DeepEP beyond 16 ranks, and its low-latency mode: they count bytes that never leave a node.
- Mooncake over EFA, GPUDirect-TCPXO: no scenario of those NICs ships.
- Mooncake's registration of 500 GB: the rate is an input (`registration_rate`).

## What a fluid model cannot show

Pauses of priority flow control and the victims behind them, the first 10 to 100 us of congestion
control, packets out of order, PCIe credits. In the incast above one RoCE flow of eight ended after
half the time in the packet simulator; here all end together. Whole flows of milliseconds are hardly
touched by these; short ones are.
)";

std::string percent(double share) {
  const double value = 100 * share;
  char text[32];
  std::snprintf(text, sizeof text, "%+.1f%%", value);
  return text;
}

std::string figure(double value) { return number_text(value, 4); }

}  // namespace

std::vector<Row> validation_rows() {
  std::vector<Row> rows;
  add_mooncake_vllm(rows);
  add_all_to_all(rows);
  add_ports(rows);
  add_packets(rows);
  add_engines(rows);
  return rows;
}

std::string validation_page(const std::vector<Row>& rows) {
  std::string out = opening;
  std::string group;
  for (const Row& row : rows) {
    if (row.group != group) {
      group = row.group;
      out +=
          "\n## " + group +
          "\n\n| set-up | measured | simulated | error | bytes / line rate | its error | note |\n"
          "|---|---|---|---|---|---|---|\n";
    }
    out += "| " + row.what + " | " + figure(row.measured) + " " + row.unit + " | " +
           figure(row.simulated) + " " + row.unit + " | " + percent(row.error()) + " | " +
           figure(row.formula) + " " + row.unit + " | " + percent(row.formula_error()) + " | " +
           row.note + " |\n";
  }
  return out + closing;
}

}  // namespace kvhaul::test
