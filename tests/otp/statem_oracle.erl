%% A living oracle: runs scenarios on the real `gen_statem` of the Erlang that is installed.
%%
%% A scenario has `rules`, what a machine does with a content in a state, `enter`, what it does on
%% entering one, and `bursts`: contents that are all in its mailbox before it handles the first, and
%% then the milliseconds to wait. Printed is, for each burst, every call of the machine's callback.

-module(statem_oracle).
-behaviour(gen_statem).
-export([main/1, callback_mode/0, init/1, handle_event/4]).

-define(FUEL, 60).

main([File, Width]) ->
    logger:set_primary_config(level, none),
    {ok, Scenarios} = file:consult(atom_to_list(File)),
    side_by_side(Scenarios, list_to_integer(atom_to_list(Width)), 0),
    halt(0).

side_by_side([], _, 0) -> ok;
side_by_side([Scenario | Rest], Width, Busy) when Busy < Width ->
    spawn_monitor(fun() -> scenario(Scenario) end),
    side_by_side(Rest, Width, Busy + 1);
side_by_side(Rest, Width, Busy) ->
    receive {'DOWN', _, process, _, Reason} ->
        oracle:complain(Reason),
        side_by_side(Rest, Width, Busy - 1)
    end.

scenario(#{name := Name, bursts := Bursts} = Scenario) ->
    {ok, Machine} = gen_statem:start_link(?MODULE, {self(), Scenario}, []),
    First = calls(Machine),
    Trace = [begin
        erlang:suspend_process(Machine),
        [gen_statem:cast(Machine, Content) || Content <- Contents],
        erlang:resume_process(Machine),
        timer:sleep(Wait),
        calls(Machine)
    end || #{contents := Contents, wait := Wait} <- Bursts],
    io:format("~s~n", [oracle:json(#{name => Name, trace => [First | Trace]})]),
    unlink(Machine),
    exit(Machine, kill).

%% A question that reaches the machine as any message would cancel its event timeout; `sys` asks
%% past its callbacks. Its answer says that the machine has done all that it could do.
calls(Machine) ->
    sys:get_state(Machine),
    heard().

heard() -> receive {called, Call} -> [Call | heard()] after 0 -> [] end.

callback_mode() -> [handle_event_function, state_enter].

init({Driver, #{rules := Rules, enter := Enter}}) ->
    {ok, a, #{driver => Driver, rules => Rules, enter => Enter, fuel => ?FUEL}}.

handle_event(enter, Old, State, #{enter := Enter} = Data) ->
    {Fuel, Spent} = spend(Data, [<<"enter">>, word(Old), word(State)]),
    {keep_state, Spent, actions(Fuel, maps:get(State, Enter, []))};
handle_event(Type, Content, State, #{rules := Rules} = Data) ->
    {Fuel, Spent} = spend(Data, [kind(Type), content(Content), word(State)]),
    Rule = binary_to_atom(<<(word(State))/binary, (content(Content))/binary>>),
    #{next := Next, actions := Actions} =
        maps:get(Rule, Rules, #{next => <<"keep">>, actions => []}),
    transition(Fuel, Next, Spent, actions(Fuel, Actions)).

%% When the fuel is used up a machine only listens: no scenario goes on for ever.
spend(#{driver := Driver, fuel := Fuel} = Data, Call) ->
    Driver ! {called, Call},
    {Fuel, Data#{fuel := max(Fuel - 1, 0)}}.

transition(0, _, Data, _) -> {keep_state, Data};
transition(_, <<"keep">>, Data, Actions) -> {keep_state, Data, Actions};
transition(_, <<"repeat">>, Data, Actions) -> {repeat_state, Data, Actions};
transition(_, State, Data, Actions) -> {next_state, binary_to_atom(State), Data, Actions}.

actions(0, _) -> [];
actions(_, Actions) -> [action(Action) || Action <- Actions].

action([<<"postpone">>]) -> postpone;
action([<<"insert">>, Content]) -> {next_event, internal, Content};
action([<<"set">>, Key, infinity, Content]) -> {key(Key), infinity, Content};
action([<<"set">>, Key, Time, Content]) -> {key(Key), Time, Content};
action([<<"update">>, Key, Content]) -> {key(Key), update, Content};
action([<<"cancel">>, Key]) -> {key(Key), cancel}.

key(<<"state">>) -> state_timeout;
key(<<"event">>) -> timeout;
key(Name) -> {timeout, Name}.

kind(info) -> <<"info">>;
kind(cast) -> <<"message">>;
kind(internal) -> <<"inserted">>;
kind(state_timeout) -> <<"state timeout">>;
kind(timeout) -> <<"event timeout">>;
kind({timeout, _}) -> <<"timeout">>.

content(Content) when is_binary(Content) -> Content;
content(Other) -> oracle:text(Other).

word(Atom) -> atom_to_binary(Atom).
