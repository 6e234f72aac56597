// FLUX.2 over graphs that state what the runtime fed to them, and over the embedded pack.
#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "models/image_fixture.h"
#include "support/errors.h"

using namespace irt;
using namespace irt::testing;
using irt::ErrorCode;

namespace {

using FlowJobPtr = std::unique_ptr<FlowJob>;

FlowJobPtr begin(Generator& generator, const ImageTask& task) {
  return FlowJobPtr(&dynamic_cast<FlowJob&>(*generator.begin(task).release()));
}

ImageTask task_of(ConditioningRef text, std::vector<ReferenceRef> references, std::uint64_t seed,
                  int width = 0, int height = 0, int steps = 0) {
  ImageTask task;
  task.text = std::move(text);
  task.references = std::move(references);
  task.seed = seed;
  task.width = width;
  task.height = height;
  task.steps = steps;
  return task;
}

const FlowReference& as_flux2(const ReferenceRef& reference) {
  return dynamic_cast<const FlowReference&>(*reference);
}

// What transformer.onnx computes for one job, and one Euler step on it, in double.
std::vector<double> stepped(const FlowJob& job, std::span<const double> latents, int step) {
  constexpr std::size_t kChannels = 48;
  std::vector<double> all(latents.begin(), latents.end());
  double end_place = 0.1 * (job.rows - 1) + 0.01 * (job.columns - 1);
  int time = 0;
  for (const auto& reference : job.references) {
    const std::vector<float> values = values_of(reference->data);
    all.insert(all.end(), values.begin(), values.end());
    time += 10;
    end_place = time + 0.1 * (reference->rows - 1) + 0.01 * (reference->columns - 1);
  }
  const std::span<const double> end = std::span(all).last(kChannels);
  const auto said = [](const FlowText& of) {
    return 2.0 * static_cast<double>(values_of(of.data)[2 * 6 + 4]);
  };
  double text = said(*job.text);
  if (job.negative) text = said(*job.negative) + job.guidance * (text - said(*job.negative));
  const auto at = static_cast<std::size_t>(step);
  const double sigma = job.sigmas[at];
  const double delta = static_cast<double>(job.sigmas[at + 1]) - sigma;
  std::vector<double> out(latents.size());
  for (std::size_t i = 0; i < latents.size(); ++i) {
    const std::size_t token = i / kChannels;
    const auto columns = static_cast<std::size_t>(job.columns);
    const double place =
        0.1 * static_cast<double>(token / columns) + 0.01 * static_cast<double>(token % columns);
    out[i] = latents[i] +
             delta * (latents[i] / 2 + end[i % kChannels] + sigma + text + place + end_place);
  }
  return out;
}

void check_run(Generator& generator, FlowJob& job) {
  const std::vector<float> first = values_of(job.latents);
  std::vector<double> want(first.begin(), first.end());
  const int steps = static_cast<int>(job.sigmas.size()) - 1;
  for (int step = 0; step < steps; ++step) want = stepped(job, want, step);
  finish(generator, job);
  CHECK(job.next_step == steps);
  const std::vector<float> got = values_of(job.latents);
  for (std::size_t i = 0; i < want.size(); ++i) {
    REQUIRE(got[i] == doctest::Approx(want[i]).epsilon(1e-4));
  }
}

}  // namespace

TEST_CASE("flux2: text, position ids, reference tokens and Euler steps") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(), {});
  const auto text = text_of(*generator, 3);
  const std::vector<float> embeds = values_of(dynamic_cast<const FlowText&>(*text).data);
  for (std::size_t i = 0; i < 30; ++i) {
    const double id = i / 6 < 3 ? static_cast<double>(13 + 3 * (i / 6)) : 0.0;
    CHECK(embeds[i] == doctest::Approx(id * 0.01 * static_cast<double>(i % 6 + 1)));
  }
  const auto plain = begin(*generator, task_of(text, {}, 7));
  CHECK(plain->rows == 2);
  CHECK(plain->columns == 3);
  CHECK(plain->sigmas == flow_sigmas(4, 6));
  std::vector<float> noise(plain->latents.size());
  gaussian_noise(7, noise);
  CHECK(values_of(plain->latents) == noise);
  check_run(*generator, *plain);

  const auto reference = generator->encode_image(picture(1, 16, 8).view());
  CHECK(as_flux2(reference).rows == 2);
  CHECK(as_flux2(reference).columns == 4);
  const auto edit = begin(*generator, task_of(text, {reference}, 8, 0, 0, 6));
  CHECK(edit->rows == 2);  // the size of the reference
  CHECK(edit->columns == 4);
  check_run(*generator, *edit);
  check_run(*generator, *begin(*generator, task_of(text, {reference}, 9, 8, 12, 1)));

  const auto second = generator->encode_image(picture(2, 12, 12).view());
  const auto both = begin(*generator, task_of(text, {reference, second}, 9, 0, 0, 2));
  CHECK(both->columns == 4);  // the size of the first one
  CHECK_FALSE(generator->same_shape(*both, *edit));
  check_run(*generator, *both);
}

TEST_CASE("flux2: a guidance pair beside a job without guidance") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(), {});
  ImageTask task = task_of(text_of(*generator, 3), {}, 7, 8, 8, 3);
  const auto plain = begin(*generator, task);
  task.negative = text_of(*generator, 1);
  task.guidance = 2.5F;
  const auto guided = begin(*generator, task);
  CHECK_FALSE(generator->same_shape(*plain, *guided));
  const std::vector<float> noise = values_of(guided->latents);
  std::vector<double> want(noise.begin(), noise.end());
  std::vector<double> without = want;
  for (int step = 0; step < 3; ++step) {
    want = stepped(*guided, want, step);
    without = stepped(*plain, without, step);
    GeneratorJob* const jobs[] = {guided.get(), plain.get()};
    generator->step(jobs);
  }
  for (std::size_t i = 0; i < want.size(); ++i) {
    REQUIRE(values_of(guided->latents)[i] == doctest::Approx(want[i]).epsilon(1e-4));
    REQUIRE(values_of(plain->latents)[i] == doctest::Approx(without[i]).epsilon(1e-4));
  }
}

TEST_CASE("flux2: images go through the codec unchanged") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(), {});
  const PixelBuffer source = picture(2, 20, 12);
  const auto reference = generator->encode_image(source.view());
  const auto job = begin(*generator, task_of(text_of(*generator, 1), {reference}, 0, 0, 0, 1));
  job->latents.copy_from(as_flux2(reference).data);
  job->next_step = 1;
  const PixelBuffer back = generator->decode(*job);
  CHECK(back.width == 20);
  CHECK(back.height == 12);
  CHECK(back.data == source.data);
}

TEST_CASE("flux2: reference images are cropped to tokens and capped in area") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(), {});
  const PixelBuffer source = picture(3, 23, 14);
  const PixelBuffer middle = crop_center(source.view(), 20, 12);
  const auto values = [&](const PixelBuffer& image) {
    return values_of(as_flux2(generator->encode_image(image.view())).data);
  };
  CHECK(values(source) == values(middle));

  // Scaled to 1444 x 725: 361 x 181 tokens.
  const auto large = generator->encode_image(white_image(2050, 1030).view());
  CHECK(as_flux2(large).columns == 361);
  CHECK(as_flux2(large).rows == 181);
  for (const auto& [width, height] : {std::pair(3, 40), std::pair(40, 3), std::pair(0, 0)}) {
    check_throws(
        ErrorCode::kBadRequest,
        [&] { (void)generator->encode_image(white_image(width, height).view()); }, "too small");
  }
}

TEST_CASE("flux2: a batch at mixed steps and shapes equals single runs") {
  IRT_NEEDS_ORT();
  const auto single = make_generator(small_generator(1), {});
  const auto reference = single->encode_image(picture(5, 12, 12).view());
  const auto all = [&](Generator& generator) {
    std::vector<FlowJobPtr> jobs;
    for (int i = 0; i < 7; ++i) {
      std::vector<ReferenceRef> references;
      if (i % 3 != 0) references.push_back(reference);
      jobs.push_back(begin(generator, task_of(text_of(generator, 1 + i % 4), references,
                                              static_cast<std::uint64_t>(i), 12, 12, 3 + i % 3)));
    }
    return jobs;
  };
  const std::vector<FlowJobPtr> alone = all(*single);
  CHECK_FALSE(single->same_shape(*alone[0], *alone[1]));
  CHECK(single->same_shape(*alone[1], *alone[2]));
  for (const FlowJobPtr& job : alone) finish(*single, *job);
  CHECK(values_of(alone[0]->latents) != values_of(alone[3]->latents));
  for (const int largest : {1, 2, 3, 8}) {
    CAPTURE(largest);
    const auto generator = make_generator(small_generator(largest), {});
    const std::vector<FlowJobPtr> together = all(*generator);
    for (std::size_t i = 0; i < 3; ++i) {  // some are ahead of the others
      GeneratorJob* const ahead[] = {together[i].get()};
      generator->step(ahead);
    }
    for (bool more = true; more;) {
      std::vector<GeneratorJob*> jobs;
      for (const FlowJobPtr& job : together) {
        if (!job->finished()) jobs.push_back(job.get());
      }
      if (more = !jobs.empty(); more) generator->step(jobs);
    }
    for (std::size_t i = 0; i < alone.size(); ++i) {
      CAPTURE(i);
      CHECK(values_of(together[i]->latents) == values_of(alone[i]->latents));
      CHECK(generator->decode(*together[i]).data == single->decode(*alone[i]).data);
    }
  }
}

TEST_CASE("flux2: requests that cannot be made are refused") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(), {});
  const auto text = text_of(*generator, 2);
  const auto refused = [&](const ImageTask& task, const char* message) {
    check_throws(ErrorCode::kBadRequest, [&] { (void)generator->begin(task); }, message);
  };
  for (const auto& [width, height] : {std::pair(10, 8), std::pair(8, 10), std::pair(-4, 8)}) {
    refused(task_of(text, {}, 0, width, height, 4), "multiples of 4");
  }
  refused(task_of(text, {}, 0, 8, 8, -1), "denoising steps");
  refused(task_of(nullptr, {}, 0, 8, 8, 4), "encode_text");
  refused(task_of(std::make_shared<const FlowText>(), {}, 0, 8, 8, 4), "encode_text");
  auto torn = std::make_shared<FlowReference>();
  torn->rows = torn->columns = 2;
  refused(task_of(text, {torn}, 0, 8, 8, 4), "encode_image");
  refused(task_of(text, {nullptr}, 0, 8, 8, 4), "encode_image");
  ImageTask guided = task_of(text, {}, 0, 8, 8, 4);
  guided.negative = text;
  refused(guided, "guidance");
  guided.negative = nullptr;
  guided.guidance = 2.0F;
  refused(guided, "guidance");
  check_throws(ErrorCode::kBadRequest, [&] { (void)text_of(*generator, 1, 4); }, "pad both to 5");

  const auto job = begin(*generator, task_of(text, {}, 0, 8, 8, 2));
  check_throws(ErrorCode::kInternal, [&] { (void)generator->decode(*job); }, "step 0 of 2");
  finish(*generator, *job);
  GeneratorJob* const jobs[] = {job.get()};
  check_throws(ErrorCode::kInternal, [&] { generator->step(jobs); }, "finished");
  std::vector<float> torn_latents = values_of(job->latents);
  torn_latents.front() = std::numeric_limits<float>::quiet_NaN();
  set_values(job->latents, torn_latents);
  check_throws(ErrorCode::kBackendFailed, [&] { (void)generator->decode(*job); }, "not finite");
}

TEST_CASE("flux2: a pack that breaks the contract is refused by name") {
  IRT_NEEDS_ORT();
  const auto refused = [&](auto change, const char* file, const char* text) {
    GeneratorConfig config = small_generator();
    change(config);
    check_throws(
        ErrorCode::kBadPack, [&] { (void)make_generator(config, SessionOptions()); }, file, text);
  };
  using C = GeneratorConfig;
  refused([](C& c) { part_of(c, "transformer") = graph_path("transformer_without_ids.onnx"); },
          "transformer_without_ids.onnx", "`txt_ids` is missing");
  refused([](C& c) { c.text_dim = 7; }, "text_encoder.onnx",
          "`prompt_embeds` is float32 [?, ?, 6]");
  refused([](C& c) { c.latent_channels = 32; }, "transformer.onnx", "`hidden_states`");
  refused([](C& c) { part_of(c, "vae_decoder") = c.part("vae_encoder"); }, "vae_encoder.onnx",
          "`latents` is missing");
  refused([](C& c) { part_of(c, "vae_encoder") = graph_path("nowhere.onnx"); }, "nowhere.onnx", "");
  refused([](C& c) { c.max_batch = 0; }, "transformer.onnx", "must be positive");
  refused([](C& c) { c.parts.resize(3); }, "vae_decoder", "flux2");
  refused([](C& c) { c.family = "flux9"; }, "flux9", "there are flux2, qwen_image");
}

TEST_CASE("flux2: no job advances when one cannot, and a terminated run can be repeated") {
  IRT_NEEDS_ORT();
  const auto generator = make_generator(small_generator(2), {});
  const auto text = text_of(*generator, 2);
  const auto good = begin(*generator, task_of(text, {}, 1, 8, 8, 3));
  const auto done = begin(*generator, task_of(text, {}, 2, 8, 8, 3));
  finish(*generator, *done);
  const std::vector<float> before = values_of(good->latents);
  GeneratorJob* const jobs[] = {good.get(), done.get()};
  check_throws(ErrorCode::kInternal, [&] { generator->step(jobs); });
  CHECK(values_of(good->latents) == before);
  CHECK(good->next_step == 0);

  const auto large = begin(*generator, task_of(text, {}, 3, 512, 512, 3));
  const std::vector<float> noise = values_of(large->latents);
  GeneratorJob* const both[] = {good.get(), large.get()};
  std::atomic<bool> over{false};
  bool cancelled = false;
  {
    const std::jthread killer([&] {
      while (!over) generator->terminate();
    });
    for (int i = 0; i < 200 && !cancelled; ++i) {
      try {
        generator->step(both);
        set_values(good->latents, before);
        set_values(large->latents, noise);
        good->next_step = large->next_step = 0;
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::kCancelled);
        cancelled = true;
      }
    }
    over = true;
  }
  REQUIRE(cancelled);
  CHECK(values_of(good->latents) == before);  // its group may have run before the other was ended
  CHECK(values_of(large->latents) == noise);
  CHECK(large->next_step == 0);
  check_run(*generator, *large);
}
