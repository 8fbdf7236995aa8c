"""Drives a running server with OpenAI's own Python client: sync, async, streamed, tools, responses.

    tests/scripts/venv.sh openai==3.54.0 -- tests/scripts/openai_client.py URL KEY [AGENT]

KEY belongs to a joint venture whose agent is AGENT (finance when absent). Ends with 1 where the client
does not read an answer as it should.
"""

import asyncio
import json
import sys

import openai
from pydantic import BaseModel

LOAN = "What is the monthly payment on a 200,000 loan at 6% over 360 months?"
EXPECTED = {"principal": 200000, "rate_pct": 6, "term_months": 360}


class Loan(BaseModel):
    principal: float
    rate_pct: float
    term_months: int
    note: str | None


def main(url, key, agent="finance"):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    strict = openai.pydantic_function_tool(Loan, name="loan_payment", description="Monthly payment of a loan")
    flat = {"type": "function", "name": "loan_payment", "description": "Monthly payment of a loan",
            "strict": True, "parameters": strict["function"]["parameters"]}
    asked = [{"role": "user", "content": LOAN}]

    def same(arguments):
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        assert {name: arguments[name] for name in EXPECTED} == EXPECTED, arguments

    def models():
        assert [model.id for model in client.models.list()] == [agent, "planner"]
        assert client.models.retrieve("planner").object == "model"

    def chat():
        said = client.chat.completions.create(model=agent, messages=asked)
        assert "1,199.10" in said.choices[0].message.content and said.choices[0].finish_reason == "stop"

    def tools():
        said = client.chat.completions.create(model="planner", messages=asked, tools=[strict])
        call = said.choices[0].message.tool_calls[0]
        assert said.choices[0].finish_reason == "tool_calls" and call.function.name == "loan_payment"
        same(call.function.arguments)
        assert said.usage.prompt_tokens_details.cached_tokens >= 0
        further = asked + [said.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "1199.10"}]
        ended = client.chat.completions.create(model="planner", messages=further, tools=[strict])
        assert ended.choices[0].message.content == "1199.10"

    def choices():
        named = {"type": "function", "function": {"name": "loan_payment"}}
        for choice in ("required", named):
            said = client.chat.completions.create(
                model="planner", messages=asked, tools=[strict], tool_choice=choice, parallel_tool_calls=False)
            assert len(said.choices[0].message.tool_calls) == 1
        said = client.chat.completions.create(model="planner", messages=asked, tools=[strict], tool_choice="none")
        assert said.choices[0].message.tool_calls is None and said.choices[0].message.content

    def parsed():
        said = client.chat.completions.parse(model="planner", messages=asked, response_format=Loan)
        same(said.choices[0].message.parsed.model_dump())
        said = client.chat.completions.parse(model="planner", messages=asked, tools=[strict])
        same(said.choices[0].message.tool_calls[0].function.parsed_arguments.model_dump())

    def streamed():
        with client.chat.completions.stream(
                model="planner", messages=asked, tools=[strict], stream_options={"include_usage": True}) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_completion()
        assert "tool_calls.function.arguments.done" in kinds, kinds
        same(final.choices[0].message.tool_calls[0].function.arguments)
        assert final.usage.total_tokens > 0
        text = ""
        for chunk in client.chat.completions.create(model=agent, messages=asked, stream=True):
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        assert "1,199.10" in text

    def responses():
        said = client.responses.create(model="planner", input=LOAN, tools=[flat])
        call = said.output[0]
        assert (said.status, call.type) == ("completed", "function_call")
        same(call.arguments)
        further = client.responses.create(model="planner", previous_response_id=said.id, input=[
            {"type": "function_call_output", "call_id": call.call_id, "output": "1199.10"}])
        assert further.output_text == "1199.10"
        assert client.responses.retrieve(said.id).id == said.id
        assert [item.type for item in client.responses.input_items.list(said.id)] == ["message"]
        client.responses.delete(said.id)
        same(client.responses.parse(model="planner", input=LOAN, text_format=Loan).output_parsed.model_dump())
        assert "1,199.10" in client.responses.create(model=agent, input=LOAN).output_text
        with client.responses.stream(model="planner", input=LOAN, tools=[flat]) as stream:
            kinds = [event.type for event in stream]
            same(stream.get_final_response().output[0].arguments)
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds

    def faults():
        def raises(kind, call):
            try:
                call()
            except kind as error:
                assert error.code and error.message, error
                return error
            raise AssertionError(f"no {kind.__name__}")

        raises(openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-4", messages=asked))
        raises(openai.AuthenticationError, lambda: openai.OpenAI(
            base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list())
        raises(openai.UnprocessableEntityError, lambda: client.chat.completions.create(
            model="planner", messages=asked, n=3))
        raises(openai.NotFoundError, lambda: client.responses.retrieve("resp_0"))

    def asynchronous():
        async def ask():
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
                one = client.chat.completions.create(model="planner", messages=asked, tools=[strict])
                two = client.responses.create(model=agent, input=LOAN)
                one, two = await asyncio.gather(one, two)
                same(one.choices[0].message.tool_calls[0].function.arguments)
                assert "1,199.10" in two.output_text
                stream = await client.chat.completions.create(model=agent, messages=asked, stream=True)
                text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
                assert "1,199.10" in text

        asyncio.run(ask())

    failed = 0
    for check in (models, chat, tools, choices, parsed, streamed, responses, faults, asynchronous):
        try:
            check()
            print(f"ok    {check.__name__}")
        except Exception as error:  # each check is told
            failed += 1
            print(f"FAIL  {check.__name__}: {type(error).__name__}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
