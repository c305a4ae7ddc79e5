// What every command has in common, and route and list.
#include <algorithm>
#include <sstream>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class Commands : public ProgramTest {};

TEST_F(Commands, HelpOnEveryOneWithAnExample) {
  EXPECT_EQ(run({"--help"}).code, 0);
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"replay"},
                                             {"compare"},
                                             {"sweep"},
                                             {"route"},
                                             {"topo"},
                                             {"hold"},
                                             {"calibrate"},
                                             {"verify"},
                                             {"list"},
                                             {"scenario", "show"},
                                             {"scenario", "check"},
                                             {"scenario", "diff"},
                                             {"trace", "describe"},
                                             {"trace", "convert"},
                                             {"trace", "cut"},
                                             {"trace", "scale"},
                                             {"trace", "generate"}}) {
    for (const char* help : {"--help", "-h"}) {
      std::vector<std::string> arguments = command;
      arguments.emplace_back(help);
      const Ran ran = run(arguments);
      EXPECT_EQ(ran.code, 0);
      EXPECT_NE(ran.out.find("\nExamples\n  kvhaul " + command[0]), std::string::npos) << ran.out;
      EXPECT_EQ(ran.err, "");
    }
  }
  EXPECT_EQ(run({"trace", "--help"}).code, 0);
  EXPECT_TRUE(run({"--version"}).out.starts_with("kvhaul "));
}

TEST_F(Commands, HelpOfReplayIsGroupedByBackend) {
  const std::string help = run({"replay", "--help"}).out;
  std::size_t at = 0;
  // Each heading before an option of its group, in this order.
  for (const char* text :
       {"\nOptions:\n", "--scenario", "--set", "--policy", "\nThe trace:\n", "--limit", "--columns",
        "\nWhat is written and printed:\n", "--record", "\nBackends emulated and simgrid:\n",
        "--throttle", "\nBackend cuda, in real time:\n", "--devices", "--busy-prefill",
        "\nBackend verbs, in real time:\n", "--nics", "\nSeveral processes, with backend verbs:\n",
        "--rendezvous", "\nExamples\n"}) {
    const std::size_t found = help.find(text, at);
    ASSERT_NE(found, std::string::npos) << text << " is not behind\n" << help.substr(at);
    at = found;
  }
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  -")) {
      EXPECT_LE(line.size(), 80u) << line;
    }
}

TEST_F(Commands, NothingToDoIsBadUsage) {
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"trace"}).code, 2);
  EXPECT_EQ(refused(2, {"replay"}),
            "kvhaul: kvhaul replay: expected --trace FILE; see 'kvhaul replay --help'");
  EXPECT_EQ(refused(2, {"route", "node0/gpu0"}),
            "kvhaul: kvhaul route: expected two places; see 'kvhaul route --help'");
  EXPECT_EQ(refused(2, {"verify"}),
            "kvhaul: kvhaul verify: expected a log file; see 'kvhaul verify --help'");
}

TEST_F(Commands, UnknownNamesSuggestTheNearest) {
  EXPECT_NE(refused(2, {"repaly"}).find("did you mean 'replay'?"), std::string::npos);
  EXPECT_NE(refused(2, {"trace", "descibe"}).find("did you mean 'describe'?"), std::string::npos);
  EXPECT_NE(refused(2, {"list", "policy"}).find("did you mean 'policies'?"), std::string::npos);
  EXPECT_EQ(refused(2, {"replay", "--scenaro", "laptop"}),
            "kvhaul: kvhaul replay: unknown option '--scenaro'; did you mean '--scenario'?");
  const std::string trace = source("traces/samples/chat-200.csv");
  const auto replay = [&](const char* option, const char* value) {
    return refused(2, {"replay", trace, option, value});
  };
  EXPECT_NE(replay("--policy", "round_robbin").find("did you mean 'round_robin'?"),
            std::string::npos);
  EXPECT_NE(replay("--scenario", "labtop").find("did you mean 'laptop'?"), std::string::npos);
  EXPECT_NE(replay("--backend", "simgird").find("did you mean 'simgrid'?"), std::string::npos);
  EXPECT_NE(replay("--format", "azur").find("did you mean 'azure'?"), std::string::npos);
  EXPECT_NE(replay("--streaming", "layers").find("did you mean 'layer'?"), std::string::npos);
  EXPECT_NE(replay("--time", "vitrual").find("did you mean 'virtual'?"), std::string::npos);
}

TEST_F(Commands, ABackendThatIsNotBuiltIsMissingNotWrong) {
  for (const char* backend : {"simgrid", "cuda", "verbs"}) {
    const Ran listed = run({"list", "backends"});
    if (listed.out.find(std::string(backend) + "  (not available: ") == std::string::npos) continue;
    const std::string error =
        refused(3, {"replay", source("traces/samples/chat-200.csv"), "--backend", backend});
    EXPECT_TRUE(error.starts_with("kvhaul: --backend " + std::string(backend) + ": ")) << error;
    EXPECT_FALSE(exists("runs"));
  }
}

TEST_F(Commands, NumbersOutOfRange) {
  const std::string trace = source("traces/samples/chat-200.csv");
  EXPECT_EQ(refused(2, {"replay", trace, "--limit", "0"}),
            "kvhaul: --limit: expected a whole number from 1 to 18446744073709551615, found '0'");
  EXPECT_NE(refused(2, {"replay", trace, "--limit", "many"}).find("found 'many'"),
            std::string::npos);
  EXPECT_NE(refused(2, {"replay", trace, "--limit=-1"}).find("found '-1'"), std::string::npos);
  EXPECT_NE(refused(2, {"replay", trace, "--speedup", "0"}).find("--speedup: expected a number"),
            std::string::npos);
  EXPECT_NE(refused(2, {"replay", trace, "--speedup", "nan"}).find("found 'nan'"),
            std::string::npos);
  EXPECT_NE(refused(2, {"replay", trace, "--seed", "x"}).find("--seed"), std::string::npos);
  EXPECT_NE(refused(2, {"replay", trace, "--limit"}).find("kvhaul replay: "), std::string::npos);
  EXPECT_NE(refused(2, {"route", "node0/gpu0", "node1/gpu0", "--size", "4"}).find("--size: "),
            std::string::npos);
  EXPECT_NE(refused(2, {"route", "node0/gpu9", "node1/gpu0"}).find("found 'node0/gpu9'"),
            std::string::npos);
}

TEST_F(Commands, ControlCharactersStayOffTheTerminal) {
  refused(2, {"\x1b[31mred\x07"});
  refused(2, {"replay", "no\nsuch\x1b[2Jfile"});
  refused(2, {"replay", "--no\x1bsuch"});
  refused(2, {"verify", "no\x1bsuch"});
}

TEST_F(Commands, RouteShowsLikeRoutesOnceAndAllOfThemOnDemand) {
  const Ran some = run({"route", "node0/gpu0", "node1/gpu0"});
  const Ran all = run({"route", "node0/gpu0", "node1/gpu0", "--all"});
  EXPECT_EQ(some.code, 0);
  EXPECT_EQ(all.code, 0);
  const auto lines = [](const Ran& ran) {
    return std::count(ran.out.begin(), ran.out.end(), '\n');
  };
  EXPECT_LE(lines(some), 48);  // six kinds of road: near, same host and far, direct and staged
  EXPECT_NE(some.out.find("rdma node0/nic1 node1/nic1  (and 2 more like it)"), std::string::npos);
  EXPECT_NE(some.out.find("--all lists every route by itself"), std::string::npos);
  // 8 x 8 NICs by rdma, 8 rails staged: each stands there by itself.
  for (int a = 0; a < 8; ++a)
    for (int b = 0; b < 8; ++b)
      EXPECT_NE(
          all.out.find("rdma node0/nic" + std::to_string(a) + " node1/nic" + std::to_string(b)),
          std::string::npos);
}

TEST_F(Commands, ListNamesEverything) {
  const Ran all = run({"list"});
  EXPECT_EQ(all.code, 0);
  for (const char* name :
       {"laptop", "llama-3.1-70b", "least_finish", "emulated", "mooncake", "scenarios:", "models:"})
    EXPECT_NE(all.out.find(name), std::string::npos) << name;
  for (const char* what : {"scenarios", "models", "policies", "backends", "formats"})
    EXPECT_EQ(run({"list", what}).code, 0) << what;
}

TEST_F(Commands, APipeGetsNoEscapeCodes) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"list"}, {"route", "node0/gpu0", "node1/gpu0"}, {"replay", "--nonsense"}}) {
    const Ran ran = run(arguments);
    EXPECT_EQ((ran.out + ran.err).find('\x1b'), std::string::npos);
    EXPECT_EQ((ran.out + ran.err).find('\r'), std::string::npos);
  }
}

}  // namespace
}  // namespace kvhaul::test
