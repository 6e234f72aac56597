// Calls that must throw.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>

#include "core/error.h"

namespace irt::testing {

// The call throws irt::Error with this code, and its message holds every one of these texts.
template <typename Function, typename... Texts>
void check_throws(ErrorCode code, Function&& function, const Texts&... texts) {
  try {
    function();
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK_MESSAGE(error.code() == code, message);
    for (const std::string& text : std::initializer_list<std::string>{texts...}) {
      CHECK_MESSAGE(message.find(text) != std::string::npos, message);
    }
    return;
  }
  FAIL_CHECK("no error was thrown");
}

}  // namespace irt::testing
