// What a template can call: functions, macros, methods of values.
#pragma once

#include <string>
#include <utility>

#include "text/jinja/arguments.h"
#include "text/jinja/run.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

// Called by the thread of its rendering only.
class Callable {
 public:
  explicit Callable(std::string name, int nesting = 1)
      : name_(std::move(name)), nesting_(checked_nesting(nesting)) {}
  virtual ~Callable() = default;
  Callable(const Callable&) = delete;
  Callable& operator=(const Callable&) = delete;

  virtual Value call(Run& run, const Arguments& arguments) const = 0;

  const std::string& name() const { return name_; }
  int nesting() const { return nesting_; }

 private:
  std::string name_;
  int nesting_;
};

// A function that needs nothing but its arguments.
class Function : public Callable {
 public:
  using Body = Value (*)(Run& run, const Arguments& arguments);
  Function(std::string name, Body body) : Callable(std::move(name)), body_(body) {}
  Value call(Run& run, const Arguments& arguments) const override { return body_(run, arguments); }

 private:
  Body body_;
};

// A method together with the value it was taken from.
class Method : public Callable {
 public:
  using Body = Value (*)(Run& run, const Value& self, const Arguments& arguments);
  Method(std::string name, Value self, Body body)
      : Callable(std::move(name), self.nesting() + 1), self_(std::move(self)), body_(body) {}
  Value call(Run& run, const Arguments& arguments) const override {
    if (body_ == nullptr) refuse("the method " + name() + " of " + std::string(self_.type_name()));
    return body_(run, self_, arguments);
  }

 private:
  Value self_;
  Body body_;  // null: Python has it, this does not
};

}  // namespace diffulex::jinja
