%% A living oracle: runs scenarios on the real `supervisor` of the Erlang that is installed.
%%
%%   erlc oracle.erl; erl +S 1:1 -noshell -s oracle main SCENARIOS WIDTH
%%
%% SCENARIOS is a file of terms, one scenario each: #{name, tree, steps}, all words as binaries.
%% What came of each is printed as a line of JSON, {"name", "trace"}, in the form of the recordings.
%% WIDTH scenarios run side by side, each in a world of its own: those in which time passes cost no
%% more than the longest of them.
%%
%% One scheduler, so that the order of events is the order in which they happened.

-module(oracle).
-behaviour(supervisor).
-export([main/1, init/1, start/2, live/2, json/1, text/1, complain/1]).

-record(world, {table, clerk}).

main([File, Width]) ->
    logger:set_primary_config(level, none),
    {ok, Scenarios} = file:consult(atom_to_list(File)),
    side_by_side(Scenarios, list_to_integer(atom_to_list(Width)), []),
    halt(0).

side_by_side([], _, []) -> ok;
side_by_side([Scenario | Rest], Width, Busy) when length(Busy) < Width ->
    {_, Monitor} = spawn_monitor(fun() -> scenario(Scenario) end),
    side_by_side(Rest, Width, [Monitor | Busy]);
side_by_side(Rest, Width, Busy) ->
    receive {'DOWN', Monitor, process, _, Reason} ->
        complain(Reason),
        side_by_side(Rest, Width, lists:delete(Monitor, Busy))
    end.

%% A scenario that ended in any other way than normally is a fault of the oracle: it says so.
complain(normal) -> ok;
complain(Reason) -> io:format("~s~n", [json(#{crash => text(Reason)})]).

scenario(#{name := Name, tree := Tree, steps := Steps}) ->
    process_flag(trap_exit, true),
    Table = ets:new(world, [public, set]),
    World = #world{table = Table, clerk = spawn_link(fun() -> clerk([], 0, #{}) end)},
    Boot = observed(World, Tree, boot(World, Tree)),
    Trace = [observed(World, Tree, step(World, Tree, Step)) || Step <- Steps],
    io:format("~s~n", [json(#{name => Name, trace => [Boot | Trace]})]),
    sweep(World).

observed(World, Tree, Result) ->
    settle(World, root(World, Tree)),
    #{result => Result, events => ask(World, events), state => state(World, Tree)}.

sweep(World) ->
    [exit(Pid, kill) || {{pid, _}, Pid} <- ets:tab2list(World#world.table)],
    unlink(World#world.clerk),
    exit(World#world.clerk, kill).

%% -- steps ----------------------------------------------------------------------------------------

boot(World, Tree) ->
    case start(World, Tree) of
        {ok, _} -> <<"ok">>;
        {error, Reason} ->
            ets:insert(World#world.table, {root_exit, term(Reason)}),
            [<<"error">>, term(Reason)]
    end.

step(World, _, #{do := <<"exit">>, child := Id, reason := Reason}) ->
    case {pid(World, Id), Reason} of
        {undefined, _} -> <<"not_running">>;
        {Pid, <<"kill">>} -> exit(Pid, kill), <<"sent">>;
        {Pid, _} -> Pid ! {die, death(Reason)}, <<"sent">>
    end;
step(_, _, #{do := <<"advance">>, ms := Time}) -> timer:sleep(Time), <<"ok">>;
step(World, Tree, #{do := <<"stop">>}) ->
    case root(World, Tree) of
        undefined -> <<"not_running">>;
        Root ->
            exit(Root, shutdown),
            receive {'EXIT', Root, Reason} ->
                ets:insert(World#world.table, {root_exit, <<"down">>}),
                term(Reason)
            end
    end;
step(World, #{id := Id} = Tree, #{do := <<"change">>, node := Node}) ->
    case root(World, Tree) of
        undefined -> <<"not_running">>;
        Root ->
            ets:insert(World#world.table, {{changed, Id}, Node}),
            sys:suspend(Root),
            Result = sys:change_code(Root, ?MODULE, undefined, []),
            sys:resume(Root),
            answer(Result)
    end;
step(World, _, #{do := Do, sup := Sup} = Step) ->
    case pid(World, Sup) of
        undefined -> <<"not_running">>;
        Pid ->
            try answer(command(World, Do, Pid, Step))
            catch exit:{Reason, _} -> [<<"exit">>, term(Reason)]
            end
    end.

command(_, <<"count_children">>, Sup, #{dynamic := true}) ->
    %% Erlang counts one spec, the template; where each child has its own there are as many.
    Counts = supervisor:count_children(Sup),
    lists:keyreplace(specs, 1, Counts, {specs, proplists:get_value(workers, Counts)});
command(_, <<"count_children">>, Sup, _) -> supervisor:count_children(Sup);
command(World, <<"start_child">>, Sup, #{spec := Node} = Step) ->
    Child = case Step of #{dynamic := true} -> [Node]; _ -> spec(World, Node) end,
    supervisor:start_child(Sup, Child);
command(World, <<"terminate_child">>, Sup, #{child := Id, dynamic := true}) ->
    case pid(World, Id) of
        undefined -> {error, not_found};
        Pid -> supervisor:terminate_child(Sup, Pid)
    end;
command(_, Do, Sup, #{child := Id}) ->
    supervisor:(binary_to_existing_atom(Do))(Sup, Id).

answer(ok) -> <<"ok">>;
answer({ok, undefined}) -> <<"ok_ignored">>;
answer({ok, _}) -> <<"ok">>;
answer({error, {already_started, _}}) -> [<<"error">>, <<"already_started">>];
answer({error, {Reason, Child}}) when element(1, Child) =:= child -> [<<"error">>, term(Reason)];
answer({error, Reason}) -> [<<"error">>, term(Reason)];
answer(Counts) -> maps:from_list(Counts).

%% -- quiet ----------------------------------------------------------------------------------------

%% Everything that follows from a step has happened once every supervisor has answered, nobody is
%% being restarted, nobody has anything to do, and nothing was written down meanwhile.
settle(World, Root) ->
    Before = ask(World, written),
    Pids = [{Id, Pid} || {{pid, Id}, Pid} <- ets:tab2list(World#world.table)],
    Lists = [children(Pid) || {Id, Pid} <- Pids, is_supervisor(World, Id)],
    Restarting = lists:any(fun(List) -> lists:keymember(restarting, 2, List) end, Lists),
    Busy = lists:any(fun({_, Pid}) -> is_busy(Pid) end, Pids),
    case Restarting orelse Busy orelse ask(World, written) =/= Before of
        true -> erlang:yield(), settle(World, Root);
        false -> note_exit(World, Root)
    end.

is_busy(Pid) ->
    case process_info(Pid, [status, message_queue_len]) of
        undefined -> false;
        [{status, Status}, {message_queue_len, Queued}] -> Status =/= waiting orelse Queued > 0
    end.

children(Sup) ->
    try supervisor:which_children(Sup) catch exit:_ -> [] end.

note_exit(World, Root) when is_pid(Root) ->
    receive {'EXIT', Root, Reason} -> ets:insert(World#world.table, {root_exit, term(Reason)})
    after 0 -> ok
    end;
note_exit(_, undefined) -> ok.

%% -- what there is --------------------------------------------------------------------------------

root(World, #{id := Id}) ->
    case ets:lookup(World#world.table, {pid, Id}) of [{_, Pid}] -> alive(Pid); [] -> undefined end.

alive(Pid) -> case is_process_alive(Pid) of true -> Pid; false -> undefined end.

pid(World, Id) -> root(World, #{id => Id}).

is_supervisor(World, Id) -> ets:member(World#world.table, {supervisor, Id}).

state(World, Tree) ->
    case root(World, Tree) of
        undefined -> #{root_exit => ets:lookup_element(World#world.table, root_exit, 2)};
        _ -> maps:from_list([{Id, listed(World, Node, pid(World, Id))}
                             || #{id := Id} = Node <- supervisors(Tree), pid(World, Id) =/= undefined])
    end.

listed(World, #{strategy := <<"simple_one_for_one">>}, Sup) ->
    lists:sort([[name(World, Pid), status(Pid)] || {_, Pid, _, _} <- children(Sup)]);
listed(_, _, Sup) ->
    [[Id, status(Pid)] || {Id, Pid, _, _} <- lists:reverse(children(Sup))].

name(World, Pid) -> ets:lookup_element(World#world.table, {name, Pid}, 2).

status(Pid) when is_pid(Pid) -> <<"running">>;
status(Word) -> atom_to_binary(Word).

supervisors(#{type := <<"supervisor">>, children := Children} = Node) ->
    [Node | lists:flatmap(fun supervisors/1, Children)];
supervisors(_) -> [].

%% -- the actors -----------------------------------------------------------------------------------

start(World, #{type := <<"supervisor">>, id := Id} = Node) ->
    ets:insert(World#world.table, {{supervisor, Id}}),
    begun(World, Id, supervisor:start_link(?MODULE, {World, Node}));
start(World, #{id := Id} = Node) ->
    begun(World, Id, case turn(World, Node) of
        <<"ok">> -> proc_lib:start_link(?MODULE, live, [self(), Node]);
        <<"ignore">> -> ignore;
        <<"error">> -> {error, start_failed}
    end).

begun(World, Id, {ok, Pid} = Result) ->
    ets:insert(World#world.table, [{{pid, Id}, Pid}, {{name, Pid}, Id}]),
    ask(World, {started, Id, Pid}),
    Result;
begun(World, Id, Result) ->
    ask(World, {failed, Id, case Result of ignore -> <<"start_ignore">>; _ -> <<"start_error">> end}),
    Result.

%% The outcome of this start: the list's next, or its last over and over.
turn(World, #{id := Id} = Node) ->
    Turns = maps:get(starts, Node, [<<"ok">>]),
    Number = ets:update_counter(World#world.table, {turn, Id}, 1, {{turn, Id}, 0}),
    lists:nth(min(Number, length(Turns)), Turns).

init({World, #{strategy := <<"simple_one_for_one">>, template := Template} = Node}) ->
    Spec = spec(World, Template#{id => <<"template">>}),
    {ok, {flags(Node), [Spec#{start := {?MODULE, start, [World]}}]}};
init({World, #{id := Id} = First}) ->
    #{children := Children} = Node =
        case ets:lookup(World#world.table, {changed, Id}) of [{_, Changed}] -> Changed; [] -> First end,
    {ok, {flags(Node), [spec(World, Child) || Child <- Children]}}.

flags(Node) ->
    #{strategy => binary_to_atom(maps:get(strategy, Node)),
      intensity => maps:get(intensity, Node, 1),
      period => maps:get(period, Node, 5),
      auto_shutdown => binary_to_atom(maps:get(auto_shutdown, Node, <<"never">>))}.

spec(World, #{id := Id, type := Type} = Node) ->
    Usual = case Type of <<"worker">> -> 5000; <<"supervisor">> -> infinity end,
    #{id => Id,
      start => {?MODULE, start, [World, Node]},
      restart => binary_to_atom(maps:get(restart, Node, <<"permanent">>)),
      significant => maps:get(significant, Node, false),
      shutdown => case maps:get(shutdown, Node, Usual) of
          <<"brutal_kill">> -> brutal_kill;
          Time -> Time
      end,
      type => binary_to_atom(Type)}.

live(Parent, Node) ->
    process_flag(trap_exit, true),
    proc_lib:init_ack(Parent, {ok, self()}),
    live_on(Parent, maps:get(stops, Node, <<"obey">>)).

live_on(Parent, Stops) ->
    receive
        {die, Reason} -> exit(Reason);
        {'EXIT', Parent, Reason} when Stops =/= <<"stubborn">> -> exit(Reason);
        _ -> live_on(Parent, Stops)
    end.

%% -- the clerk: writes down what happened, in order -------------------------------------------------

clerk(Events, Written, Lives) ->
    receive
        {From, {started, Id, Pid}} ->
            Number = life(Id),
            Monitor = monitor(process, Pid),
            note(From, [[<<"start">>, Id, Number] | Events], Written, Lives#{Monitor => {Id, Number}});
        {From, {failed, Id, What}} ->
            note(From, [[What, Id, life(Id)] | Events], Written, Lives);
        {From, events} -> From ! {self(), lists:reverse(Events)}, clerk([], Written, Lives);
        {From, written} -> From ! {self(), Written}, clerk(Events, Written, Lives);
        {'DOWN', Monitor, process, _, Reason} ->
            {{Id, Number}, Others} = maps:take(Monitor, Lives),
            clerk([[<<"exit">>, Id, Number, term(Reason)] | Events], Written + 1, Others)
    end.

note(From, Events, Written, Lives) ->
    From ! {self(), ok},
    clerk(Events, Written + 1, Lives).

life(Id) ->
    Number = case get(Id) of undefined -> 1; Last -> Last + 1 end,
    put(Id, Number),
    Number.

ask(#world{clerk = Clerk}, Question) ->
    Clerk ! {self(), Question},
    receive {Clerk, Answer} -> Answer end.

%% -- words ----------------------------------------------------------------------------------------

death(<<"shutdown_term">>) -> {shutdown, term};
death(Word) -> binary_to_atom(Word).

term({shutdown, {failed_to_start_child, Id, Reason}}) ->
    [<<"failed_to_start_child">>, Id, term(Reason)];
term({failed_to_start_child, Id, Reason}) -> [<<"failed_to_start_child">>, Id, term(Reason)];
term({shutdown, Word}) when is_atom(Word) -> [<<"shutdown">>, atom_to_binary(Word)];
term(Word) when is_atom(Word) -> atom_to_binary(Word);
term(Other) -> [<<"other">>, text(Other)].

text(Term) -> iolist_to_binary(string:replace(io_lib:format("~0p", [Term]), "\"", "'", all)).

json(Text) when is_binary(Text) -> [$", Text, $"];
json(Word) when is_atom(Word) -> json(atom_to_binary(Word));
json(Number) when is_integer(Number) -> integer_to_binary(Number);
json(List) when is_list(List) -> [$[, lists:join($,, [json(Item) || Item <- List]), $]];
json(Map) when is_map(Map) ->
    [${, lists:join($,, [[json(Key), $:, json(Value)] || {Key, Value} <- maps:to_list(Map)]), $}].
