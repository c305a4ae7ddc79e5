// What the program says of the CUDA backend's options; without a GPU as well as with one.
#include "cli/backends.h"
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class CudaOptions : public ProgramTest {
 protected:
  std::string replay(int code, std::vector<std::string> options) {
    options.insert(options.begin(), {"replay", source("traces/samples/chat-200.csv"), "-n", "1"});
    return refused(code, options);
  }
};

TEST_F(CudaOptions, AreCheckedBeforeAnythingIsDone) {
  for (const char* list : {"", "a", "0,", "0,,1", "-1", "0;1", "99999999999"})
    EXPECT_EQ(replay(2, {"-b", "cuda", "--devices", list}),
              "kvhaul: --devices: expected device numbers with commas between, like 0,1; found '" +
                  std::string(list) + "'");
  for (const char* held : {"node0/gpu1", "=socket", "node0/gpu1="})
    EXPECT_EQ(replay(2, {"-b", "cuda", "--held", held}),
              "kvhaul: --held: expected PLACE=SOCKET, like node0/gpu1=/run/kv.sock; found '" +
                  std::string(held) + "'");
  EXPECT_EQ(replay(2, {"-b", "cuda", "--time", "virtual"}),
            "kvhaul: --time virtual: backend cuda has only real time");
  EXPECT_EQ(replay(2, {"-b", "cuda", "--throttle"}),
            "kvhaul: --throttle is for the emulated backend");
  EXPECT_EQ(refused(2, {"calibrate", "-s", "laptop", "-b", "cuda", "--time", "virtual"}),
            "kvhaul: --time virtual: backend cuda has only real time");
}

TEST_F(CudaOptions, AreForThatBackendOnly) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--held", "node0/gpu1=socket"}, {"--busy-prefill"}})
    EXPECT_EQ(replay(2, options), "kvhaul: --held and --busy-prefill are for the cuda backend");
  EXPECT_EQ(replay(2, {"--devices", "0"}), "kvhaul: --devices is for the backends cuda and verbs");
}

TEST_F(CudaOptions, WithoutAGpuTheReasonIsSaid) {
  const std::string missing = (*cli::find_backend("cuda"))->missing();
  if (missing.empty()) GTEST_SKIP() << "there is a GPU here";
  EXPECT_EQ(replay(3, {"-b", "cuda"}), "kvhaul: --backend cuda: " + missing +
                                           "; 'kvhaul list backends' shows what is available here");
  EXPECT_NE(refused(3, {"hold", "socket"}).find("CUDA"), std::string::npos);
  EXPECT_EQ(refused(2, {"hold"}), "kvhaul: kvhaul hold: expected SOCKET; see 'kvhaul hold --help'");
  EXPECT_EQ(refused(2, {"hold", "socket", "--device", "x"}).find("kvhaul: --device"), 0u);
}

}  // namespace
}  // namespace kvhaul::test
