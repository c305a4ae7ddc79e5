// Fault files: every kind, and what is said about everything else.
#include "scenarios/fault_file.h"

#include <map>

#include <gtest/gtest.h>

#include "core/channel_plan.h"
#include "scenarios/scenario.h"

namespace kvhaul::test {
namespace {

using faults::FaultKind;

const Cluster& cluster() {
  static const Scenario scenario = *load_scenario("dgx-h100-pair");
  return scenario.cluster;
}

std::string error_of(const std::string& text) {
  const auto script = parse_fault_file(text, "f.yaml", cluster());
  if (script) return "";
  EXPECT_EQ(script.error().kind, ErrorKind::bad_input);
  return script.error().message;
}
/// Of a file with one entry, on its second line.
std::string entry_error(const std::string& entry) { return error_of("faults:\n  - " + entry); }

TEST(FaultFile, EveryKind) {
  const auto script = parse_fault_file(R"(seed: 7
faults:
  - {kind: fail, where: node0/nic3/tx, from: 1 s, until: 2 s, probability: 0.5, noticed_after: 1 ms}
  - {kind: lose, probability: 0.25}
  - {kind: delay, where: node0, by: 200 us}
  - {kind: corrupt, where: node1/nic0}
  - {kind: degrade, where: node0/nic1, factor: 0.25}
  - {kind: down, where: node0/nic2, silent: true}
  - {kind: fail_registration, where: node1/gpu0}
)",
                                       "f.yaml", cluster());
  ASSERT_TRUE(script) << script.error().message;
  EXPECT_EQ(script->seed, 7u);
  ASSERT_EQ(script->faults.size(), 7u);
  const auto& f = script->faults;
  EXPECT_EQ(f[0].kind, FaultKind::fail);
  EXPECT_EQ(f[0].where, "node0/nic3/tx");
  EXPECT_EQ(f[0].from_ns, 1 * s_ns);
  EXPECT_EQ(f[0].until_ns, 2 * s_ns);
  EXPECT_EQ(f[0].probability, 0.5);
  EXPECT_EQ(f[0].delay_ns, 1 * ms_ns);
  EXPECT_EQ(f[1].kind, FaultKind::lose);
  EXPECT_EQ(f[1].where, "");
  EXPECT_EQ(f[1].from_ns, 0);
  EXPECT_EQ(f[1].until_ns, never_ns);
  EXPECT_EQ(f[2].kind, FaultKind::delay);
  EXPECT_EQ(f[2].delay_ns, 200 * us_ns);
  EXPECT_EQ(f[2].probability, 1);
  EXPECT_EQ(f[3].kind, FaultKind::corrupt);
  EXPECT_EQ(f[4].kind, FaultKind::degrade);
  EXPECT_EQ(f[4].factor, 0.25);
  EXPECT_EQ(f[5].kind, FaultKind::down);
  EXPECT_TRUE(f[5].silent);
  EXPECT_EQ(f[5].every_ns, never_ns);
  EXPECT_EQ(f[5].line, 8u);
  EXPECT_EQ(f[6].kind, FaultKind::fail_registration);
}

TEST(FaultFile, ATargetThatDoesNotExistNamesTheNearest) {
  EXPECT_EQ(entry_error("{kind: down, where: node0/nic9}"),
            "f.yaml:2: 'where': expected a node, a device or a link (node0, node0/nic0, "
            "node0/nic0/tx) of the scenario's cluster, found 'node0/nic9'; did you mean "
            "'node0/nic0'?");
  // A link is no place.
  EXPECT_NE(entry_error("{kind: fail_registration, where: node0/nic0}")
                .find("expected a node or a place (node0/gpu0, node0/host0)"),
            std::string::npos);
  // Part of a name is not a name.
  EXPECT_NE(entry_error("{kind: down, where: node0/nic}"), "");
}

TEST(FaultFile, Times) {
  EXPECT_EQ(entry_error("{kind: down, from: 2 s, until: 1 s}"),
            "f.yaml:2: 'until': expected a time after 'from'");
  EXPECT_EQ(entry_error("{kind: down, from: 2 s, until: 2 s}"),
            "f.yaml:2: 'until': expected a time after 'from'");
  EXPECT_EQ(entry_error("{kind: down, from: 2}"),
            "f.yaml:2: 'from': expected a duration with its unit, such as '3.1 us' or '250 ms', "
            "found '2'");
  EXPECT_NE(entry_error("{kind: down, from: -1 s}"), "");
}

TEST(FaultFile, KeysOfOtherKindsAndUnknownOnes) {
  EXPECT_EQ(entry_error("{kind: down, probability: 0.5}"),
            "f.yaml:2: unknown key 'probability' in 'faults'; known are every, from, kind, "
            "noticed_after, reconnect, silent, until, where");
  EXPECT_EQ(entry_error("{kind: lose, were: node0}"),
            "f.yaml:2: unknown key 'were' in 'faults'; did you mean 'where'?");
  EXPECT_EQ(error_of("faults: [{kind: lose}]\nsed: 1\n"),
            "f.yaml:2: unknown key 'sed'; did you mean 'seed'?");
}

TEST(FaultFile, ValuesOutOfRangeAndMissing) {
  EXPECT_EQ(entry_error("{kind: flap}"),
            "f.yaml:2: 'kind': expected one of fail, lose, delay, corrupt, degrade, down, "
            "fail_registration, found 'flap'");
  EXPECT_EQ(entry_error("{where: node0}"),
            "f.yaml:2: expected 'kind' in 'faults', which is missing");
  EXPECT_EQ(entry_error("{kind: lose, probability: 1.1}"),
            "f.yaml:2: 'probability': expected a number above 0, up to 1");
  EXPECT_EQ(entry_error("{kind: fail, probability: 0}"),
            "f.yaml:2: 'probability': expected a number above 0, up to 1");
  for (const char* factor : {"0", "1", "1.5"})
    EXPECT_EQ(entry_error("{kind: degrade, factor: " + std::string(factor) + "}"),
              "f.yaml:2: 'factor': expected what is left of the rate, from 0.001 to less than 1");
  EXPECT_EQ(entry_error("{kind: degrade}"),
            "f.yaml:2: expected 'factor' in 'faults', which is missing");
  EXPECT_EQ(entry_error("{kind: delay}"), "f.yaml:2: expected 'by' in 'faults', which is missing");
  EXPECT_EQ(entry_error("{kind: lose, kind: fail}"), "f.yaml:2: the key 'kind' stands here twice");
}

TEST(FaultFile, Outages) {
  const auto script = parse_fault_file(
      "faults:\n"
      "  - {kind: down, from: 1 s, until: 2 s, every: 60 s, noticed_after: 90 ms, reconnect: 1 s}\n"
      "  - {kind: degrade, factor: 0.5, from: 10 ms, until: 20 ms, every: 11 ms}\n"
      "  - {kind: down}\n",
      "f.yaml", cluster());
  ASSERT_TRUE(script) << script.error().message;
  const faults::Fault& down = script->faults[0];
  EXPECT_EQ(down.every_ns, 60 * s_ns);
  EXPECT_EQ(down.noticed_ns, 90 * ms_ns);
  EXPECT_EQ(down.reconnect_ns, 1 * s_ns);
  for (const auto& [second, active] : std::map<TimeNs, bool>{
           {0, false}, {1, true}, {2, false}, {60, false}, {61, true}, {62, false}, {3601, true}})
    EXPECT_EQ(down.active(second * s_ns), active) << second;
  EXPECT_TRUE(script->faults[1].active(21 * ms_ns));
  EXPECT_FALSE(script->faults[1].active(20 * ms_ns));
  EXPECT_EQ(script->faults[2].noticed_ns, faults::of_route);
  EXPECT_EQ(script->faults[2].reconnect_ns, faults::of_route);
  EXPECT_TRUE(script->faults[2].active(1000 * s_ns));

  EXPECT_EQ(entry_error("{kind: down, from: 1 s, every: 60 s}"),
            "f.yaml:2: 'every': expected 'until', too: when it ends for the first time");
  EXPECT_EQ(entry_error("{kind: lose, from: 1 s, until: 3 s, every: 2 s}"),
            "f.yaml:2: 'every': expected more than it lasts, 2 s");
  EXPECT_EQ(entry_error("{kind: down, from: 1 s, until: 3 s, every: 4 s, reconnect: 2 s}"),
            "f.yaml:2: 'every': expected more than it lasts, 2 s and 'reconnect'");
  EXPECT_EQ(entry_error("{kind: down, silent: true, noticed_after: 1 s}"),
            "f.yaml:2: 'noticed_after': nobody is told of a 'silent' fault");
  EXPECT_EQ(entry_error("{kind: down, silent: true, reconnect: 1 s}"),
            "f.yaml:2: 'reconnect': nobody is told of a 'silent' fault");
  EXPECT_EQ(
      entry_error("{kind: down, noticed_after: 3}"),
      "f.yaml:2: 'noticed_after': expected a duration with its unit, such as '3.1 us' or '250 "
      "ms', found '3'");
  EXPECT_EQ(entry_error("{kind: fail_registration, every: 3 s, until: 1 s}"),
            "f.yaml:2: unknown key 'every' in 'faults'; known are from, kind, until, where");
}

/// What can never happen in a run, as far as the run's channels and its end tell.
TEST(FaultFile, FaultsThatNeverHappen) {
  EXPECT_EQ(entry_error("{kind: fail_registration, from: 1 s}"),
            "f.yaml:2: 'from': memory is registered before the run begins, at 0 s; expected none");
  const Scenario scenario = *load_scenario("dgx-h100-pair");
  const auto plan = plan_channels(scenario.cluster, place_pairs(scenario.serving), scenario.routes);
  ASSERT_TRUE(plan);
  const auto check = [&](const std::string& entry, TimeNs over_ns = never_ns) {
    auto script = parse_fault_file("faults:\n  - " + entry, "f.yaml", cluster());
    if (!script) return script.error().message;
    const auto checked = fit_faults(*script, "f.yaml", scenario, plan->requests, over_ns);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(check("{kind: down, where: node0/nic3}"), "");
  EXPECT_EQ(check("{kind: lose}"), "");
  EXPECT_EQ(check("{kind: fail_registration, where: node0/gpu1}"), "");
  // Prefill is on node0, so that its NICs receive nothing.
  EXPECT_EQ(check("{kind: down, where: node0/nic3/rx}"),
            "f.yaml:2: 'where': expected something that KV of this run crosses, found "
            "'node0/nic3/rx'; 'kvhaul route --all' shows which links lie between two places");
  EXPECT_NE(check("{kind: fail_registration, where: node0/host0}"), "");
  EXPECT_EQ(check("{kind: lose, from: 60 s}", 60 * s_ns), "");
  EXPECT_EQ(
      check("{kind: lose, from: 61 s}", 60 * s_ns),
      "f.yaml:2: 'from': expected a time while the run lasts, found 61 s; all of the trace is "
      "over by 60 s");
}

TEST(FaultFile, FilesThatAreNone) {
  EXPECT_EQ(error_of(""), "f.yaml:1: expected a mapping of keys to values, found nothing");
  EXPECT_EQ(error_of("seed: 1\n"), "f.yaml:1: expected at least one entry under 'faults'");
  EXPECT_EQ(error_of("faults: []\n"), "f.yaml:1: expected at least one entry under 'faults'");
  EXPECT_EQ(error_of("faults: down\n"), "f.yaml:1: 'faults': expected a list");
  EXPECT_EQ(error_of("faults: [down]\n"), "f.yaml:1: 'faults': expected a list of mappings");
  EXPECT_EQ(error_of(std::string("faults:\0", 8)),
            "f.yaml:1: expected a text file, found a binary one");
  EXPECT_EQ(load_fault_file("/nonexistent/f.yaml", cluster()).error().message,
            "/nonexistent/f.yaml: cannot be read: No such file or directory");
}

}  // namespace
}  // namespace kvhaul::test
