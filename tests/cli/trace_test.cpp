// kvhaul trace: describe, convert, cut, scale and generate.
#include <sys/stat.h>

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
    ASSERT_EQ(run({"trace", "convert", entry.path().string(), "a.csv", "--force"}).code, 0) << name;
    ASSERT_EQ(run({"trace", "convert", "a.csv", "b.csv", "--force"}).code, 0) << name;
    EXPECT_EQ(text("a.csv"), text("b.csv")) << name;
  }
}

TEST_F(TraceCommand, CutAndScale) {
  write("t.csv", three);
  EXPECT_EQ(run({"trace", "cut", "t.csv", "a.csv", "--from", "1 s", "--to", "3 s"}).code, 0);
  EXPECT_EQ(text("a.csv"), std::string(header) + "1.000000000,200,20,\n");
  EXPECT_EQ(run({"trace", "cut", "t.csv", "a.csv", "-n", "1", "--force"}).code, 0);
  EXPECT_EQ(text("a.csv"), std::string(header) + "0.000000000,100,10,\n");
  EXPECT_EQ(run({"trace", "scale", "t.csv", "b.csv", "--speedup", "2"}).code, 0);
  EXPECT_EQ(run({"trace", "scale", "b.csv", "c.csv", "--speedup", "0.5"}).code, 0);
  EXPECT_EQ(text("b.csv"), std::string(header) +
                               "0.000000000,100,10,\n1.000000000,200,20,\n2.250000000,300,30,\n");
  EXPECT_EQ(run({"trace", "convert", "t.csv", "a.csv", "--force"}).code, 0);
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

TEST_F(TraceCommand, WhatIsThereStaysThereWithoutForce) {
  write("t.csv", three);
  write("bad.csv", std::string(three) + "5,broken,1\n");
  const std::vector<std::vector<std::string>> writers = {
      {"trace", "convert", "t.csv", "keep.csv"},
      {"trace", "cut", "t.csv", "keep.csv"},
      {"trace", "scale", "t.csv", "keep.csv"},
      {"trace", "generate", "keep.csv", "-n", "3"}};
  for (const auto& writer : writers) {
    write("keep.csv", "mine");
    EXPECT_EQ(refused(2, writer), "kvhaul: keep.csv is there already; --force writes over it");
    EXPECT_EQ(text("keep.csv"), "mine");
    auto forced = writer;
    forced.push_back("--force");
    EXPECT_EQ(run(forced).code, 0);
    EXPECT_TRUE(text("keep.csv").starts_with("# kvhaul trace 1")) << text("keep.csv");
  }
  write("keep.csv", "mine");
  refused(2, {"trace", "convert", "bad.csv", "keep.csv", "--force"});
  EXPECT_EQ(text("keep.csv"), "mine");
}

TEST_F(TraceCommand, AnInputIsNeverWrittenOverByWhateverName) {
  write("t.csv", three);
  write("bad.csv", std::string(three) + "5,broken,1\n");
  std::filesystem::create_directory(folder() / "sub");
  std::filesystem::create_symlink("t.csv", folder() / "link.csv");
  std::filesystem::create_hard_link(folder() / "t.csv", folder() / "hard.csv");
  for (const char* name : {"t.csv", "./t.csv", "sub/../t.csv", "link.csv", "hard.csv"}) {
    const std::string error = refused(2, {"trace", "convert", "t.csv", name, "--force"});
    EXPECT_NE(error.find("is read by this command"), std::string::npos) << error;
    EXPECT_EQ(text("t.csv"), three);
  }
  refused(2, {"trace", "convert", "link.csv", "t.csv", "--force"});
  write("c-trace.csv", "x");
  write("c-data.json", "{}");
  refused(2,
          {"trace", "generate", "c-data.json", "--servegen", "c-trace.csv:c-data.json", "--force"});
  EXPECT_EQ(text("c-data.json"), "{}");
}

TEST_F(TraceCommand, LinksStayLinksAndPermissionsStay) {
  write("t.csv", three);
  write("real.csv", "mine");
  std::filesystem::permissions(folder() / "real.csv", std::filesystem::perms(0640));
  std::filesystem::create_symlink("real.csv", folder() / "link.csv");
  std::filesystem::create_symlink("new.csv", folder() / "nowhere.csv");
  ASSERT_EQ(run({"trace", "convert", "t.csv", "link.csv", "--force"}).code, 0);
  ASSERT_EQ(run({"trace", "convert", "t.csv", "nowhere.csv"}).code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder() / "link.csv"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder() / "nowhere.csv"));
  EXPECT_EQ(text("real.csv"), text("new.csv"));
  EXPECT_TRUE(text("new.csv").starts_with("# kvhaul trace 1"));
  EXPECT_EQ(std::filesystem::status(folder() / "real.csv").permissions(),
            std::filesystem::perms(0640));
}

TEST_F(TraceCommand, StandardOutputAndPipesAreWrittenAsTheyAre) {
  write("t.csv", three);
  ASSERT_EQ(run({"trace", "convert", "t.csv", "a.csv"}).code, 0);
  const Ran ran = run({"trace", "convert", "t.csv", "/dev/stdout"});  // a file, in this test
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, text("a.csv"));
  EXPECT_EQ(ran.err, "/dev/stdout: 3 rows, 3 requests\n");
  ASSERT_EQ(mkfifo((folder() / "pipe").c_str(), 0600), 0);
  const pid_t child = start({"trace", "convert", "t.csv", "pipe"});
  EXPECT_EQ(text("pipe"), text("a.csv"));
  EXPECT_EQ(finish(child).code, 0);
}

TEST_F(TraceCommand, BadFilesAndTimes) {
  write("t.csv", three);
  refused(2, {"trace", "describe", "none.csv"});
  refused(2, {"trace", "describe"});
  refused(2, {"trace", "convert", "t.csv"});
  EXPECT_EQ(refused(2, {"trace", "convert", "t.csv", "t.csv"}),
            "kvhaul: t.csv is read by this command and not written over; give another name");
  EXPECT_EQ(text("t.csv"), three);
  EXPECT_NE(refused(2, {"trace", "cut", "t.csv", "a.csv", "--from", "3"}).find("--from: expected"),
            std::string::npos);
  refused(2, {"trace", "cut", "t.csv", "a.csv", "--from", "3 s", "--to", "1 s"});
  refused(2, {"trace", "convert", "t.csv", "none/a.csv"});
  refused(2, {"trace", "scale", "t.csv", "a.csv", "--speedup", "-1"});
}

}  // namespace
}  // namespace kvhaul::test
