// Collects everything that is wrong with what a user gave, to be told in one error.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace diffulex {

// What a ProblemList throws when it holds more than one problem: its parts can join another list.
class ManyProblems : public Error {
 public:
  ManyProblems(Error summary, std::vector<Error> parts)
      : Error(std::move(summary)), parts_(std::move(parts)) {}
  const std::vector<Error>& parts() const noexcept { return parts_; }

 private:
  std::vector<Error> parts_;
};

class ProblemList {
 public:
  // A problem's message names its file. One that is there already is not added again.
  void add(const Error& problem);
  void add(const ManyProblems& problems);
  void add(const ProblemList& others);  // with their notes

  // Runs read(); an error about files joins the list, others (memory, cancellation) go on. False:
  // it did not come to its end.
  template <class Read>
  bool attempt(Read&& read) {
    try {
      std::forward<Read>(read)();
      return true;
    } catch (const ManyProblems& problems) {
      add(problems);
    } catch (const Error& problem) {
      if (!is_about_files(problem.status())) throw;
      add(problem);
    }
    return false;
  }

  // What could not be looked at for the problems; told behind them.
  void note(std::string what) { notes_.push_back(std::move(what)); }

  bool empty() const noexcept { return problems_.empty(); }
  const std::vector<Error>& problems() const noexcept { return problems_; }
  bool names_path(const std::string& path) const;  // whether a problem is about that file

  // Throws the only problem as it is, behind `path` where it is about that itself; several as one
  // ManyProblems about `path` that counts and lists them ("... and 12 more" behind the first 20),
  // with the details of those that it lists behind a detail "path" for all: their own where they
  // have the same, else `path`. Its status is that of the first problem that is not
  // MODEL_UNSUPPORTED.
  void check(const std::string& path) const;

 private:
  static bool is_about_files(diffulex_status status);
  std::vector<const Error*> in_order() const;
  std::string notes() const;

  std::vector<Error> problems_;
  std::set<std::string> told_;  // their messages
  std::vector<std::string> notes_;
};

}  // namespace diffulex
