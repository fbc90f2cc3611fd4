#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <utility>

#include "unit/expect_error.h"
#include "unit/safetensors_writer.h"

namespace diffulex {
namespace {

using testing::expect_error;
using testing::TempDir;
using testing::write_file;

TEST(MappedFile, ShowsTheBytes) {
  const TempDir dir;
  write_file(dir / "a", std::string("x\0y", 3));
  const MappedFile file(dir / "a");
  EXPECT_EQ(file.text(), std::string_view("x\0y", 3));
  EXPECT_EQ(file.bytes().size(), 3u);
  EXPECT_EQ(file.path(), dir / "a");
}

TEST(MappedFile, StaysReadableAfterReleasingPages) {
  const TempDir dir;
  write_file(dir / "a", std::string(100000, 'q'));
  const MappedFile file(dir / "a");
  MappedFile::read_ahead(file.bytes().data(), file.bytes().size());
  MappedFile::populate(file.bytes().data(), file.bytes().size());
  file.release_pages();
  EXPECT_EQ(file.text(), std::string(100000, 'q'));
}

TEST(MappedFile, EmptyFileIsAnEmptyRange) {
  const TempDir dir;
  write_file(dir / "empty", "");
  const MappedFile file(dir / "empty");
  EXPECT_TRUE(file.bytes().empty());
  file.release_pages();
}

TEST(MappedFile, Moves) {
  const TempDir dir;
  write_file(dir / "a", "aaa");
  write_file(dir / "b", "bb");
  MappedFile a(dir / "a");
  MappedFile b(std::move(a));
  EXPECT_EQ(b.text(), "aaa");
  b = MappedFile(dir / "b");
  EXPECT_EQ(b.text(), "bb");
  EXPECT_EQ(b.path(), dir / "b");
}

TEST(MappedFile, NamesPathAndReason) {
  const TempDir dir;
  const std::string missing = dir / "missing";
  const Error error =
      expect_error(DIFFULEX_E_IO, {missing, "No such file"}, [&] { MappedFile file(missing); });
  EXPECT_EQ(testing::detail(error, "path"), missing);
  expect_error(DIFFULEX_E_IO, {dir.path(), "directory"}, [&] { MappedFile file(dir.path()); });
  expect_error(DIFFULEX_E_IO, {"Not a directory"}, [&] {
    write_file(dir / "plain", "x");
    MappedFile file(dir / "plain/below");
  });
  expect_error(DIFFULEX_E_IO, {"No such file"}, [] { MappedFile file(""); });
  expect_error(DIFFULEX_E_IO, {"Invalid"}, [] { MappedFile file(std::string("a\0b", 3)); });
}

TEST(MappedFile, RefusesPipesWithoutWaiting) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  expect_error(DIFFULEX_E_IO, {"not a regular file"}, [&] { MappedFile file(dir / "pipe"); });
}

}  // namespace
}  // namespace diffulex
