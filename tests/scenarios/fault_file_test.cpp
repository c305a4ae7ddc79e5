// Fault files: every kind, and what is said about everything else.
#include "scenarios/fault_file.h"

#include <gtest/gtest.h>

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
            "f.yaml:2: unknown key 'probability' in 'faults'; known are from, kind, silent, until, "
            "where");
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
            "f.yaml:2: 'probability': expected a number from 0 to 1");
  EXPECT_EQ(entry_error("{kind: degrade, factor: 0}"),
            "f.yaml:2: 'factor': expected what is left of the rate, from 0.001 to 1");
  EXPECT_EQ(entry_error("{kind: degrade}"),
            "f.yaml:2: expected 'factor' in 'faults', which is missing");
  EXPECT_EQ(entry_error("{kind: delay}"), "f.yaml:2: expected 'by' in 'faults', which is missing");
  EXPECT_EQ(entry_error("{kind: lose, kind: fail}"), "f.yaml:2: the key 'kind' stands here twice");
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
