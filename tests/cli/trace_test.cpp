// kvhaul trace: describe, convert, cut, scale and generate.
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class TraceCommand : public ProgramTest {};

constexpr const char* three =
    "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    "0,100,10\n2,200,20\n4.5,300,30\n";
constexpr const char* header =
    "# kvhaul trace 1, block 0 tokens\n"
    "arrival_s,input_tokens,output_tokens,prefix_blocks\n";

TEST_F(TraceCommand, Describe) {
  write("t.csv", three);
  const Ran ran = run({"trace", "describe", "t.csv"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(ran.out.starts_with("t.csv: vidur, 3 rows, 3 requests\n")) << ran.out;
  EXPECT_NE(ran.out.find("span 4.5 s"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("200"), std::string::npos);
}

TEST_F(TraceCommand, ConvertedTwiceIsTheSame) {
  write("t.csv", three);
  EXPECT_EQ(run({"trace", "convert", "t.csv", "a.csv"}).out, "a.csv: 3 rows, 3 requests\n");
  EXPECT_EQ(text("a.csv"), std::string(header) +
                               "0.000000000,100,10,\n2.000000000,200,20,\n4.500000000,300,30,\n");
  EXPECT_EQ(run({"trace", "convert", "a.csv", "b.csv"}).code, 0);
  EXPECT_EQ(text("b.csv"), text("a.csv"));
}

TEST_F(TraceCommand, EverySampleSurvivesConversion) {
  for (const auto& entry : std::filesystem::directory_iterator(source("traces/samples"))) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name == "README.md" || name.starts_with(".")) continue;
    std::vector<std::string> convert = {"trace", "convert", entry.path().string(), "a.csv"};
    if (name.starts_with("mooncake")) convert.insert(convert.end(), {"--format", "mooncake"});
    ASSERT_EQ(run(convert).code, 0) << name;
    ASSERT_EQ(run({"trace", "convert", "a.csv", "b.csv"}).code, 0) << name;
    EXPECT_EQ(text("a.csv"), text("b.csv")) << name;
  }
}

TEST_F(TraceCommand, CutAndScale) {
  write("t.csv", three);
  EXPECT_EQ(run({"trace", "cut", "t.csv", "a.csv", "--from", "1 s", "--to", "3 s"}).code, 0);
  EXPECT_EQ(text("a.csv"), std::string(header) + "1.000000000,200,20,\n");
  EXPECT_EQ(run({"trace", "cut", "t.csv", "a.csv", "-n", "1"}).code, 0);
  EXPECT_EQ(text("a.csv"), std::string(header) + "0.000000000,100,10,\n");
  EXPECT_EQ(run({"trace", "scale", "t.csv", "b.csv", "--speedup", "2"}).code, 0);
  EXPECT_EQ(run({"trace", "scale", "b.csv", "c.csv", "--speedup", "0.5"}).code, 0);
  EXPECT_EQ(text("b.csv"), std::string(header) +
                               "0.000000000,100,10,\n1.000000000,200,20,\n2.250000000,300,30,\n");
  EXPECT_EQ(run({"trace", "convert", "t.csv", "a.csv"}).code, 0);
  EXPECT_EQ(text("c.csv"), text("a.csv"));
}

TEST_F(TraceCommand, GenerateIsTheSameForTheSameSeedAndReadsBack) {
  const std::vector<std::string> options = {"-n",       "50",  "--rate", "7",
                                            "--shared", "0.5", "--seed", "3"};
  for (const char* out : {"a.csv", "b.csv"}) {
    std::vector<std::string> arguments = {"trace", "generate", out};
    arguments.insert(arguments.end(), options.begin(), options.end());
    EXPECT_EQ(run(arguments).code, 0);
  }
  EXPECT_EQ(text("a.csv"), text("b.csv"));
  EXPECT_EQ(run({"trace", "generate", "c.csv", "-n", "50", "--seed", "4"}).code, 0);
  EXPECT_NE(text("c.csv"), text("a.csv"));
  EXPECT_NE(run({"trace", "describe", "a.csv"}).out.find("50 requests"), std::string::npos);
}

TEST_F(TraceCommand, GenerateRefusesNonsense) {
  const auto generate = [&](const char* option, const char* value) {
    return refused(2, {"trace", "generate", "a.csv", option, value});
  };
  EXPECT_NE(generate("--arrivals", "poison").find("did you mean 'poisson'?"), std::string::npos);
  EXPECT_NE(generate("--input", "normal:1").find("expected fixed:TOKENS"), std::string::npos);
  for (const char* input : {"fixed:0", "fixed:-1", "fixed:nan", "fixed: 5", "uniform:9:1",
                            "uniform:1", "lognormal:0:1:10", "lognormal:5:-1:10", "fixed:"})
    generate("--input", input);
  generate("--shared", "1.5");
  generate("--rate", "0");
  generate("--cv", "1e9");
  generate("--servegen", "nocolon");
  EXPECT_FALSE(exists("a.csv"));
}

TEST_F(TraceCommand, NothingHalfMadeIsLeft) {
  write("t.csv", std::string(three) + "5,broken,1\n");
  for (const char* action : {"convert", "cut", "scale"}) {
    EXPECT_NE(refused(2, {"trace", action, "t.csv", "a.csv"}).find("t.csv:5: expected"),
              std::string::npos);
    EXPECT_FALSE(exists("a.csv")) << action;
  }
  refused(2, {"trace", "describe", "t.csv"});
}

TEST_F(TraceCommand, BadFilesAndTimes) {
  write("t.csv", three);
  refused(2, {"trace", "describe", "none.csv"});
  refused(2, {"trace", "describe"});
  refused(2, {"trace", "convert", "t.csv"});
  EXPECT_EQ(refused(2, {"trace", "convert", "t.csv", "t.csv"}),
            "kvhaul: kvhaul trace: t.csv is both read and written");
  refused(2, {"trace", "convert", "t.csv", "./t.csv"});
  EXPECT_EQ(text("t.csv"), three);
  EXPECT_NE(refused(2, {"trace", "cut", "t.csv", "a.csv", "--from", "3"}).find("--from: expected"),
            std::string::npos);
  refused(2, {"trace", "cut", "t.csv", "a.csv", "--from", "3 s", "--to", "1 s"});
  refused(2, {"trace", "convert", "t.csv", "none/a.csv"});
  refused(2, {"trace", "scale", "t.csv", "a.csv", "--speedup", "-1"});
}

}  // namespace
}  // namespace kvhaul::test
