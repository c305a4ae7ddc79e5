// What the program says of the verbs backend's options; without a device as well as with one.
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class VerbsOptions : public ProgramTest {
 protected:
  std::string replay(std::vector<std::string> options) {
    options.insert(options.begin(), {"replay", source("traces/samples/chat-200.csv"), "-n", "1"});
    return refused(2, options);
  }
};

TEST_F(VerbsOptions, AreCheckedBeforeAnythingIsDone) {
  for (const char* list : {"", "mlx5_0,", ",mlx5_0"})
    EXPECT_EQ(replay({"-b", "verbs", "--nics", list}),
              "kvhaul: --nics: expected ports with commas between, like mlx5_0,mlx5_1; found '" +
                  std::string(list) + "'");
  EXPECT_EQ(replay({"-b", "verbs", "--service-level", "16"}),
            "kvhaul: --service-level: expected a whole number from 0 to 15, found '16'");
  EXPECT_EQ(replay({"-b", "verbs", "--traffic-class", "af41"}),
            "kvhaul: --traffic-class: expected a whole number from 0 to 255, found 'af41'");
  EXPECT_EQ(replay({"-b", "verbs", "--lost-after", "0"}),
            "kvhaul: --lost-after: expected a number from 2 to 86400, found '0'");
}

TEST_F(VerbsOptions, AreForThatBackendOnly) {
  const std::string why =
      "kvhaul: --nics, --service-level, --traffic-class and --lost-after are for the verbs backend";
  EXPECT_EQ(replay({"--nics", "mlx5_0"}), why);
  EXPECT_EQ(replay({"-b", "cuda", "--traffic-class", "104"}), why);
  EXPECT_EQ(refused(2, {"calibrate", "-s", "laptop", "-b", "emulated", "--lost-after", "9"}), why);
}

}  // namespace
}  // namespace kvhaul::test
