// Completion and man page say what --help says, and the shells can read them.
#include "cli/shell_help.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "cli/replay_run.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

/// Standard output of a shell command.
std::string output_of(const std::string& command) {
  std::string out;
  std::FILE* pipe = popen(command.c_str(), "r");
  char text[4096];
  for (std::size_t n = 0; (n = std::fread(text, 1, sizeof text, pipe)) > 0;) out.append(text, n);
  pclose(pipe);
  return out;
}

class ShellHelp : public ::testing::Test {
 protected:
  void write(const std::string& text) { std::ofstream(path_) << text; }
  test::OwnFolder folder_;
  const std::string path_ = folder_.file("completion");
  std::vector<CommandHelp> help_ = all_help();
};

TEST_F(ShellHelp, NamesEveryCommandAndOption) {
  const std::string bash = bash_completion(help_), zsh = zsh_completion(help_);
  const std::string man = man_page(help_);
  std::size_t options = 0;
  for (const CommandHelp& command : help_) {
    EXPECT_NE(bash.find("'" + command.name + "')"), std::string::npos) << command.name;
    EXPECT_NE(zsh.find("'" + command.name + "')"), std::string::npos) << command.name;
    EXPECT_NE(man.find(".SS kvhaul " + command.name + "\n"), std::string::npos) << command.name;
    for (const CommandHelp::Option& option : command.options) {
      ++options;
      EXPECT_NE(bash.find("--" + option.name), std::string::npos) << option.name;
      EXPECT_NE(zsh.find("*--" + option.name + "'"), std::string::npos) << option.name;
    }
  }
  EXPECT_GE(help_.size(), commands().size());
  EXPECT_GT(options, 100u);
}

/// By what an option is for, and by the backend that takes it.
TEST_F(ShellHelp, OptionsOfReplayStandInGroups) {
  std::map<std::string, std::vector<std::string>> groups;
  std::vector<std::string> order;
  for (const CommandHelp& command : help_) {
    if (command.name != "replay") continue;
    for (const CommandHelp::Option& option : command.options) {
      if (groups.count(option.group) == 0) order.push_back(option.group);
      groups[option.group].push_back(option.name);
    }
  }
  using Names = std::vector<std::string>;
  EXPECT_EQ(order, Names({"Options", "The trace", "What is written and printed",
                          "Backends emulated and simgrid", "Backend cuda, in real time",
                          "Backend verbs, in real time", "Several processes, with backend verbs"}));
  EXPECT_EQ(groups["Backends emulated and simgrid"], Names({"time", "payload", "throttle"}));
  EXPECT_EQ(groups["Backend cuda, in real time"], Names({"devices", "held", "busy-prefill"}));
  EXPECT_EQ(groups["Backend verbs, in real time"],
            Names({"nics", "service-level", "traffic-class", "lost-after"}));
  const std::string man = man_page(help_);
  std::size_t at = man.find(".SS kvhaul replay\n");
  for (const std::string& group : order) {
    if (group == "Options") continue;
    at = man.find(".PP\n.I " + group + "\n", at);
    EXPECT_NE(at, std::string::npos) << group;
  }
}

TEST_F(ShellHelp, BashOffersWhatFits) {
  write(bash_completion(help_));
  const auto offered = [&](const std::string& words, int at) {
    return output_of("bash -c 'source " + path_ + "; COMP_WORDS=(" + words + "); COMP_CWORD=" +
                     std::to_string(at) + "; _kvhaul; echo \"${COMPREPLY[@]}\"' 2>&1");
  };
  EXPECT_EQ(offered("kvhaul rep", 1), "replay report\n");
  EXPECT_EQ(offered("kvhaul trace gen", 2), "generate\n");
  EXPECT_EQ(offered("kvhaul scenario show dgx-h100-p", 3), "dgx-h100-pair\n");
  EXPECT_EQ(offered("kvhaul replay --stream", 2), "--streaming\n");
  EXPECT_EQ(offered("kvhaul trace generate --arr", 3), "--arrivals\n");
  EXPECT_EQ(offered("kvhaul replay -p round", 3), "round_robin\n");
  EXPECT_EQ(offered("kvhaul route -s dgx-h100-p", 3), "dgx-h100-pair\n");
  EXPECT_EQ(offered("kvhaul sweep --direction p", 3), "push pull\n");
}

TEST_F(ShellHelp, ZshCanReadIt) {
  if (std::system("command -v zsh > /dev/null") != 0) GTEST_SKIP() << "no zsh (Debian: zsh)";
  write(zsh_completion(help_));
  EXPECT_EQ(output_of("zsh -n " + path_ + " 2>&1"), "");
}

/// A line of text that begins with a dot would be a request, and unescaped hyphens cannot be
/// copied.
TEST_F(ShellHelp, TheManPageIsTroff) {
  std::istringstream page(man_page(help_));
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with(".")) continue;
    const std::string request = line.substr(0, line.find(' '));
    EXPECT_TRUE(std::set<std::string>({".\\\"", ".TH", ".SH", ".SS", ".B", ".I", ".PP", ".TP",
                                       ".nf", ".fi", ".RS", ".RE"})
                    .contains(request))
        << line;
  }
  EXPECT_NE(man_page(help_).find("\\-\\-streaming"), std::string::npos);
}

TEST(OptionValues, AreThoseThatReplayTakes) {
  for (const char* option : {"policy", "streaming", "direction", "time", "payload", "format"})
    for (const std::string& value : option_values(option)) {
      const auto request =
          read_replay_request({"-t", "x", "--" + std::string(option) + "=" + value});
      EXPECT_TRUE(request) << request.error().message;
    }
  EXPECT_GT(option_values("scenario").size(), 10u);
  EXPECT_TRUE(option_values("out").empty());
}

}  // namespace
}  // namespace kvhaul::cli
