#include "base/problem_list.h"

#include <gtest/gtest.h>

#include "expect_error.h"

namespace diffulex {
namespace {

using testing::detail;
using testing::expect_error;

Error problem(diffulex_status status, const std::string& message, const std::string& path) {
  return Error(status, message).with("path", path);
}

TEST(ProblemList, OfNothingThrowsNothing) {
  ProblemList problems;
  problems.note("a note alone is no problem");
  EXPECT_NO_THROW(problems.check("dir"));
}

TEST(ProblemList, TellsASingleProblemAsItIs) {
  ProblemList problems;
  problems.add(problem(DIFFULEX_E_TOKENIZER, "a.json: bad", "dir/a.json"));
  problems.add(problem(DIFFULEX_E_TOKENIZER, "a.json: bad", "dir/a.json"));
  const Error error = expect_error(DIFFULEX_E_TOKENIZER, {}, [&] { problems.check("dir"); });
  EXPECT_EQ(error.message(), "a.json: bad");
  EXPECT_EQ(detail(error, "path"), "dir/a.json");
}

TEST(ProblemList, NamesTheDirectoryOfAProblemThatIsAboutIt) {
  ProblemList problems;
  problems.add(problem(DIFFULEX_E_MODEL_FORMAT, "missing tensor 'x'", "some/dir"));
  problems.note("the rest was not checked");
  const Error error =
      expect_error(DIFFULEX_E_MODEL_FORMAT, {}, [&] { problems.check("some/dir"); });
  EXPECT_EQ(error.message(), "some/dir: missing tensor 'x' (the rest was not checked)");
}

TEST(ProblemList, CountsAndListsSeveralWithTheMalformedOnesFirst) {
  ProblemList problems;
  problems.add(problem(DIFFULEX_E_MODEL_UNSUPPORTED, "a: odd", "dir/a"));
  problems.add(problem(DIFFULEX_E_IO, "b: gone", "dir/b"));
  problems.add(problem(DIFFULEX_E_MODEL_FORMAT, "c: bad", "dir/c"));
  const Error error = expect_error(DIFFULEX_E_IO, {}, [&] { problems.check("dir"); });
  EXPECT_EQ(error.message(), "dir: 3 problems: b: gone; c: bad; a: odd");
  EXPECT_EQ(detail(error, "path"), "dir");
}

TEST(ProblemList, OfOneFileNamesIt) {
  ProblemList problems;
  problems.add(problem(DIFFULEX_E_IO, "1", "dir/a"));
  problems.add(problem(DIFFULEX_E_IO, "2", "dir/a"));
  EXPECT_EQ(detail(expect_error(DIFFULEX_E_IO, {}, [&] { problems.check("dir"); }), "path"),
            "dir/a");
}

TEST(ProblemList, TakesTheProblemsOfAnother) {
  ProblemList inner, outer;
  inner.add(problem(DIFFULEX_E_IO, "1", "x"));
  inner.add(problem(DIFFULEX_E_IO, "2", "y"));
  outer.add(problem(DIFFULEX_E_IO, "2", "y"));
  EXPECT_FALSE(outer.attempt([&] { inner.check("in"); }));
  EXPECT_EQ(outer.problems().size(), 2u);
  EXPECT_TRUE(outer.names_path("x"));
  EXPECT_FALSE(outer.names_path("in"));
}

TEST(ProblemList, LetsErrorsOfOtherKindsPass) {
  ProblemList problems;
  expect_error(DIFFULEX_E_CANCELLED, {"stop"},
               [&] { problems.attempt([] { throw Error(DIFFULEX_E_CANCELLED, "stop"); }); });
  EXPECT_THROW(problems.attempt([] { throw std::bad_alloc(); }), std::bad_alloc);
  EXPECT_TRUE(problems.empty());
}

TEST(ProblemList, CutsLongMessagesAtACharacterAndKeepsOneLine) {
  ProblemList problems;
  std::string message = "a\nb";
  while (message.size() < 2000) message += "\u00e9";
  problems.add(problem(DIFFULEX_E_IO, message, "x"));
  const std::string told = problems.problems()[0].message();
  EXPECT_LT(told.size(), 700u);
  EXPECT_EQ(told.substr(0, 3), "a?b");
  EXPECT_TRUE(told.ends_with("\u00e9...")) << told;
}

}  // namespace
}  // namespace diffulex
